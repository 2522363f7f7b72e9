"""What runs on a node: a shell script for each job that claims its ref, reports its start, runs it, reports its end.

A node needs bash and coreutils; Python only where figures are read beside the files, and then the member reads
them itself if the node could not.
"""

from __future__ import annotations

__all__ = ["array_script", "job_script"]

import os
import re
import shlex
import sys

import msgspec

from ensemble.members.kit.files import JobFiles
from ensemble.members.local.launch import wrapper
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec

_BINDINGS = {"core": "cores", "socket": "sockets"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def array_script(folder: str) -> str:
    """The text that `sbatch` is given for a whole array."""
    return f'#!/bin/bash\nexec /bin/bash {shlex.quote(folder)}/"$SLURM_ARRAY_TASK_ID".sh\n'


# The claim: a file is linked to a name that only one can have. A job that Slurm itself has requeued (same job, higher
# restart count) is the next incarnation of its own claim; whatever else finds a claim is a doubled submission, and a
# restart that finds a later one does nothing more.
_HEAD = """\
umask 077
native=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
restart=${SLURM_RESTART_COUNT:-0}
now() { if [ -n "$EPOCHREALTIME" ]; then REPLY=${EPOCHREALTIME/,/.}; else REPLY=$(date +%s.%N); fi; }
ship=${0%/*}; ship=${ship##*/}
now; begun=$REPLY
tmp=$spool/tmp/$ref.$native.$restart.$$
claim=$spool/claims/$ref
incarnation=0 terminated=
printf '%s\\n' "ref=$ref" "job=$native" "ship=$ship" "restart=$restart" "host=${SLURMD_NODENAME:-$HOSTNAME}" \\
    "start=$begun" > "$tmp" || exit 75
duplicate() { rm -f "$tmp"; exit 0; }
[ -e "$claim.end" ] && duplicate
if ! ln "$tmp" "$claim" 2>/dev/null; then
    [ -e "$claim" ] || exit 75
    owner= before=
    while IFS='=' read -r name text; do
        case $name in job) owner=$text ;; restart) before=$text ;; esac
    done < "$claim"
    [ "$owner" = "$native" ] && [ "$restart" -gt "${before:-0}" ] || duplicate
    ln "$tmp" "$claim.r$restart" 2>/dev/null || duplicate
    : > "$claim.again"
    incarnation=$restart
fi
# whether a later restart has begun: this one is then of a node that Slurm gave up too early. Only after a restart is
# the directory listed.
outlived() {
    [ -e "$claim.again" ] || return
    local other
    for other in "$claim".r*; do [ "${other##*.r}" -gt "$restart" ] 2>/dev/null && return 0; done
    return 1
}
outlived && duplicate
echo "incarnation=$incarnation" >> "$tmp"
mv "$tmp" "$spool/new/$ref.$incarnation.1start" || exit 75
finish() {  # code, reason, text
    now
    outlived && duplicate
    # a signal from outside may reach the job before it reaches us
    [ "$1" = 143 ] && [ -z "$terminated" ] && [ ! -e "$claim.cancel" ] && sleep 0.5
    # ended from outside: whether for good (cancelled, timed out) or to run again (requeued), only Slurm knows
    [ -n "$terminated" ] && [ "$1" != 0 ] && [ ! -e "$claim.cancel" ] && stopped
    local end=$REPLY pause
    for pause in 1 2 4 8 15 30 0; do  # a full disk may be emptied; 74 tells Slurm that there is no record
        record "$@" 2>/dev/null && exit 0
        sleep "$pause"
    done
    exit 74
}
stopped() {
    printf '%s\\n' "ref=$ref" "job=$native" > "$tmp" && mv "$tmp" "$spool/new/$ref.$incarnation.3stopped"
    exit 143
}
record() {
    rm -f "$tmp"
    printf '%s\\n' "ref=$ref" "job=$native" "host=${SLURMD_NODENAME:-$HOSTNAME}" "start=$begun" "end=$end" \\
        "incarnation=$incarnation" "code=$1" "reason=$2" "text=$3" > "$tmp" || return
    if [ -s "$tmp.figures" ]; then { printf 'figures='; cat "$tmp.figures"; echo; } >> "$tmp" || return; fi
    echo "complete=1" >> "$tmp" || return
    sync "$tmp" || return
    ln "$tmp" "$claim.end"
    mv "$tmp" "$spool/new/$ref.$incarnation.2end" || return
    rm -f "$tmp.figures"
}
trap 'trapped=1 terminated=1' TERM INT XCPU USR1 USR2 HUP
# cancelled while nobody could tell the queue: it does not begin
[ -e "$claim.cancel" ] && finish 143 "" "cancelled before it began"
"""


def _launcher(spec: JobSpec) -> list[str]:
    """The words before the program that start `tasks` of it. Raises `MemberError`."""
    kind, tasks = spec.launcher, spec.resources.tasks
    if kind == "none" or (kind == "auto" and tasks == 1):
        return []
    if kind in ("auto", "srun"):
        words = ["srun", f"--ntasks={tasks}", f"--cpus-per-task={spec.resources.cores}"]
        binding = spec.resources.binding
        return [*words, f"--cpu-bind={_BINDINGS.get(binding, binding)}"] if binding else words
    if kind == "mpiexec":
        return ["mpiexec", "-n", str(tasks)]
    raise MemberError(f"this member has no launcher {kind!r}, only srun, mpiexec and none")


def job_script(spec: JobSpec, run_dir: str, spool: str, path: str) -> tuple[str, dict[str, str]]:
    """The text of one job's script `path`, and further files (path to text) that it needs. Raises `MemberError`."""
    files = JobFiles(run_dir, spec.ref.key, spec.ref.attempt)
    others: dict[str, str] = {}
    words = [*_launcher(spec), *spec.command]
    if spec.script:
        inner = files.script + ".command"
        others[inner] = spec.script
        first = spec.script.split("\n", 1)[0]
        words = [*_launcher(spec), *(shlex.split(first[2:]) if first.startswith("#!") else ("/bin/sh", "-e")), inner]
    if not words:
        raise MemberError("its command is empty")
    first_word = words[0]
    if spec.setup or spec.cleanup:
        plain = msgspec.structs.replace(spec, command=tuple(words), script="", launcher="none")
        others[files.script] = wrapper(plain, files, "")
        words, first_word = ["/bin/sh", files.script], "/bin/sh"
    quote = shlex.quote
    lines = ["#!/bin/bash", f"spool={quote(spool)}", f"ref={quote(f'{spec.ref.key}.{spec.ref.attempt}')}", _HEAD]
    odd = []
    for name, text in {"OMP_NUM_THREADS": str(spec.resources.cores), **spec.env}.items():
        if _NAME.match(name):
            lines.append(f"export {name}={quote(text)}")
        else:
            odd.append(f"{name}={text}")
    workdir = os.path.join(run_dir, spec.workdir)
    lines.append(f"cd {quote(workdir)} || finish -1 launch {quote(f'{workdir}: cannot be entered on the node')}")
    if "/" in first_word:
        lines.append(f"[ -e {quote(first_word)} ] || finish -1 launch {quote(f'{first_word}: no such program')}")
        bad = quote(f"{first_word}: not executable")
        lines.append(f"[ -x {quote(first_word)} ] && [ ! -d {quote(first_word)} ] || finish -1 launch {bad}")
    else:
        lines.append(
            f"type -P -- {quote(first_word)} >/dev/null || finish -1 launch {quote(f'{first_word}: not found on PATH')}"
        )
    call = shlex.join((["env", *odd] if odd else []) + words)
    if spec.walltime:
        # Slurm counts walltimes in minutes; this one is exact, and Slurm's own stands behind it
        call = f"timeout --kill-after=5 {spec.walltime:.3f} {call}"
    lines += [
        f"rm -f {quote(files.phase)}",
        # a subshell: the signals that the script must survive do what they do in the job
        f"( trap - TERM INT XCPU USR1 USR2 HUP; exec -- {call} ) \\",
        f"    </dev/null >{quote(files.stdout)} 2>{quote(files.stderr)} &",
        "job=$!",
        # a wait that a signal breaks off says nothing yet
        'while :; do trapped=; wait "$job"; code=$?; [ -z "$trapped" ] && break; done',
        "reason=",
        f"[ $code -ne 0 ] && [ -s {quote(files.phase)} ] && read -r reason < {quote(files.phase)}",
    ]
    if spec.walltime:
        lines.append(
            'case $code in 124|137) now; awk -v a="$begun" -v b="$REPLY" '
            f"'BEGIN {{ exit !(b - a >= {spec.walltime}) }}' && reason=walltime ;; esac"
        )
    if spec.outputs:
        python = quote(sys.executable)
        code = "from ensemble.members.slurm.figures import main; main()"
        lines.append(
            f'{python} -c {quote(code)} {quote(path + ".json")} > "$tmp.figures" 2>/dev/null || : > "$tmp.figures"'
        )
    lines.append('finish "$code" "$reason" ""')
    return "\n".join(lines) + "\n", others
