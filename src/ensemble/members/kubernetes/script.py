"""What runs in a pod: a shell script around the job's program. The image needs `/bin/sh`, `date`, `sleep` and `mkdir`.

It is the container's first process, which the kernel protects from most signals, so the program is its child. It writes
what Kubernetes cannot know (exact times, walltime, a missing program) into the termination log, from which the kubelet
puts it into the pod's status.
"""

from __future__ import annotations

__all__ = ["LAUNCHERS", "Report", "files_of", "job_script", "literal"]

import os
import re
import shlex
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.program import job_program
from ensemble.members.kit.staging import StagingError
from ensemble.model.errors import MemberError
from ensemble.model.jobs import FileInput, JobSpec

LAUNCHERS: Final = ("none", "mpiexec")
_MOST_INPUT: Final = 200_000
"""Characters of inputs that travel inside an object, which etcd limits to 1.5 MB."""
_MOST_OUTPUT: Final = 1 << 20
_KILL_AFTER: Final = 5
_SHARE: Final = "put the run on a shared volume (option `shared`)"

_HEAD: Final = """\
now() { at=$(date +%s.%N 2>/dev/null); case $at in *[!0-9.]*|'') at=$(date +%s) ;; esac; }
say() { printf '%s\\n' "$@" >> /dev/termination-log; } 2>/dev/null
finish() { now; say "end=$at" "reason=$2" "text=$3"; [ -z "$claim" ] || echo "$1" > "$claim.end"; exit "$1"; }
if [ $$ = 1 ]; then all=-1; else all=; fi
claim=
"""

# A claim is a file that only one can create. Whoever finds one is a second pod, or a second container, of the same
# attempt: it does nothing, and ends as the first one does.
_CLAIM: Final = """\
mine=%(claim)s.$ENSEMBLE_NODE
if ! ( set -C; : > "$mine" ) 2>/dev/null; then
    [ -e "$mine" ] || finish 74 storage "$mine: cannot be written"
    until [ -s "$mine.end" ]; do sleep 1; done
    read -r code < "$mine.end"
    exit "$code"
fi
claim=$mine
"""

_BODY: Final = """\
now; say "start=$at"
trapped= late=
trap 'trapped=1; kill -TERM ${all:-$job} 2>/dev/null' TERM INT HUP
trap 'trapped=1 late=1; kill -TERM ${all:-$job} 2>/dev/null' USR1
( trap - TERM INT HUP USR1; exec %(call)s ) </dev/null%(redirect)s &
job=$!
%(watch)swhile :; do trapped=; wait "$job"; code=$?; [ -n "$trapped" ] || break; done
reason=
%(after)s[ -z "$late" ] || { reason=walltime; [ "$code" != 0 ] || code=143; }
finish "$code" "$reason" ""
"""


class Report(Struct, frozen=True):
    """What the script wrote into the termination log."""

    start: float = 0.0
    end: float = 0.0
    reason: str = ""
    text: str = ""

    @classmethod
    def read(cls, message: str) -> Report:
        """Read it; what cannot be read is left out."""
        fields = dict(line.partition("=")[::2] for line in message.splitlines())
        times = {name: fields.get(name, "") for name in ("start", "end")}
        found = {name: float(text) for name, text in times.items() if re.fullmatch(r"\d+(\.\d*)?", text)}
        return cls(**found, reason=fields.get("reason", ""), text=fields.get("text", ""))


def job_script(spec: JobSpec, run_dir: str, node: str, coordinator: str, claim: str, mark: str) -> str:
    """The script of one attempt. Raises `MemberError` for what cannot be run.

    `node` and `coordinator` are the shell's expressions for the number of the pod and the address of the first one.
    `mark` begins the lines behind which files follow the job's output. `claim` is the path of the claim where the run
    directory is on a shared volume; empty: the pod has a directory of its own at that path, and writes to its log.
    """
    files = JobFiles(run_dir, spec.ref.key, spec.ref.attempt)
    program = job_program(spec, files, _launch(spec))
    quote, workdir = shlex.quote, os.path.join(run_dir, spec.workdir)
    parts = [_HEAD, f"export ENSEMBLE_NODE={node}\n"]
    if coordinator:
        parts.append(f'export ENSEMBLE_COORDINATOR="{coordinator}"\n')
    if claim:
        parts.append(_CLAIM % {"claim": quote(claim)})
    else:
        parts.append(f"mkdir -p {quote(files.folder)} {quote(workdir)} || finish 127 launch {quote(workdir)}\n")
        parts += _inputs(spec.inputs, workdir)
    parts.append(f"cd {quote(workdir)} || finish 127 launch {quote(f'{workdir}: cannot be entered in the pod')}\n")
    parts += (_written(path, text) for path, text in program.files.items())
    parts.append(_check(program.words[0]))
    redirect = ""
    if claim:
        redirect = f' >{quote(files.stdout)}"$others" 2>{quote(files.stderr)}"$others"'
        parts.append('others=; [ "$ENSEMBLE_NODE" = 0 ] || others=.node$ENSEMBLE_NODE\n')
    after = ""
    if spec.setup or spec.cleanup:
        after = f"[ $code = 0 ] || [ ! -s {quote(files.phase)} ] || read -r reason < {quote(files.phase)}\n"
    watch = ""
    if spec.walltime:
        kill = f"kill -USR1 $$; sleep {_KILL_AFTER}; kill -KILL ${{all:-$job}}"
        watch = f"( trap '' TERM USR1; sleep {spec.walltime:g}; {kill} ) </dev/null >/dev/null 2>&1 &\n"
    if not claim:
        after += "".join(_sent(path, mark) for path in _outputs(spec))
    parts.append(_BODY % {"call": shlex.join(program.words), "redirect": redirect, "watch": watch, "after": after})
    script = "".join(parts)
    if "\0" in script:
        raise MemberError("it contains a NUL character, which no script can")
    return script


def literal(text: str) -> str:
    """The text as a command or variable of a container, where Kubernetes replaces `$(NAME)` and halves `$$`."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def files_of(log: bytes, mark: str) -> tuple[bytes, dict[str, bytes]]:
    """What a container's log holds: the job's own output, and the files that the script sent behind it, by path."""
    sign = b"\n" + mark.encode() + b" "
    output, *_ = log.partition(sign)
    files: dict[str, bytes] = {}
    rest = log[len(output) :]
    while rest.startswith(sign):
        line, _, rest = rest[len(sign) :].partition(b"\n")
        size, _, path = line.partition(b" ")
        length = int(size) if size.isdigit() else 0
        files[path.decode(errors="replace")] = rest[:length]
        rest = rest[length:]
    return output, files


def _outputs(spec: JobSpec) -> list[str]:
    return sorted({one.source for one in spec.outputs} - {"stdout", "stderr"})


def _sent(path: str, mark: str) -> str:
    """Lines that send a file behind the job's output, as the pod's directory goes with it."""
    name = shlex.quote(path)
    size = f"$(( $(wc -c < {name}) < {_MOST_OUTPUT} ? $(wc -c < {name}) : {_MOST_OUTPUT} ))"
    return f'[ ! -f {name} ] || {{ printf "\\n%s %s %s\\n" {mark} "{size}" {name}; head -c {_MOST_OUTPUT} {name}; }}\n'


def _launch(spec: JobSpec) -> list[str]:
    """The words before the program. With several pods, it starts once in each."""
    several = spec.resources.tasks > 1 and spec.resources.nodes <= 1
    if spec.launcher == "mpiexec" or (spec.launcher == "auto" and several):
        return ["mpiexec", "-n", str(spec.resources.tasks)]
    if spec.launcher in ("auto", "none"):
        return []
    raise MemberError(f"this member has no launcher {spec.launcher!r}; it has {', '.join(LAUNCHERS)}")


def _check(word: str) -> str:
    """Lines that end a job whose program is not there."""
    quote = shlex.quote
    if "/" in word:
        bad = quote(f"{word}: not executable")
        return (
            f"[ -e {quote(word)} ] || finish 127 launch {quote(f'{word}: no such program in the image')}\n"
            f"[ -x {quote(word)} ] && [ ! -d {quote(word)} ] || finish 127 launch {bad}\n"
        )
    return (
        f"command -v {quote(word)} >/dev/null || finish 127 launch {quote(f'{word}: not found on PATH in the image')}\n"
    )


def _inputs(inputs: tuple[FileInput, ...], workdir: str) -> Iterator[str]:
    """Lines that write the inputs, whose text travels with the script. Raises `StagingError`."""
    size = 0
    for item in inputs:
        target = os.path.normpath(os.path.join(workdir, item.to))
        if not target.startswith(os.path.normpath(workdir) + os.sep):
            raise StagingError(f"input {item.to}: outside the work directory")
        try:
            text = item.text if item.text is not None else _text_of(item.path)
        except OSError as error:
            raise StagingError(f"input {item.path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise StagingError(f"input {item.path}: not a text; {_SHARE}") from error
        size += len(text)
        if size > _MOST_INPUT:
            raise StagingError(f"its inputs are too large to travel with its object; {_SHARE}")
        yield f"mkdir -p {shlex.quote(os.path.dirname(target))}\n"
        yield _written(target, text)


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(_MOST_INPUT + 1)


def _written(path: str, text: str) -> str:
    return f"printf %s {shlex.quote(text)} > {shlex.quote(path)} || finish 127 inputs {shlex.quote(path)}\n"
