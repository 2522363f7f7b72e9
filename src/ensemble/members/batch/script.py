"""What runs on a node: a shell script for a whole array, which reads the part of its own job.

A job claims its ref, reports its start, runs, and reports its end. A node needs bash and coreutils; Python only where
figures are read beside the files, and then the member reads them itself if the node could not. Whatever can be done
without another process is: on a small node each costs as much as a short job.
"""

from __future__ import annotations

__all__ = ["array_script", "job_script"]

import os
import re
import shlex
import sys

from ensemble.members.batch.dialect import Dialect
from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.program import job_program
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# The claim: a file that only one can create (O_EXCL, which `noclobber` asks for). A job that the queue itself has
# started again (same job, higher restart count) is the next incarnation of its own claim; whatever else finds a claim
# is a doubled submission, and a restart that finds a later one does nothing more. A report counts once its last line is
# there.
_FUNCTIONS = """\
umask 077
now() { if [ -n "$EPOCHREALTIME" ]; then REPLY=${EPOCHREALTIME/,/.}; else REPLY=$(date +%s.%N); fi; }
create() {  # a file that nobody else has created
    local failed=0
    set -o noclobber
    { printf '%s\\n' "ref=$ref" "job=$native" "ship=$array" "restart=$restart" "host=$node" "start=$begun" > "$1"; } \\
        2>/dev/null || failed=1
    set +o noclobber
    return $failed
}
# whether a later restart has begun: this one is then of a node that the queue gave up too early. Only after a restart
# is the directory listed.
outlived() {
    [ -e "$claim.again" ] || return
    local other
    for other in "$claim".r*; do [ "${other##*.r}" -gt "$restart" ] 2>/dev/null && return 0; done
    return 1
}
begin() {
    now; begun=$REPLY
    claim=$spool/claims/$ref
    incarnation=0 terminated= figures= reason=
    if ! create "$claim"; then
        [ -e "$claim" ] || exit 75
        local owner= before= name text
        # its end may have been reported before the node was given up, and read or not
        for name in "$claim.end" "$spool/new/$ref".*.2end; do [ -e "$name" ] && exit 0; done
        while IFS='=' read -r name text; do
            case $name in job) owner=$text ;; restart) before=$text ;; esac
        done < "$claim"
        [ "$owner" = "$native" ] && [ "$restart" -gt "${before:-0}" ] || exit 0
        create "$claim.r$restart" || exit 0
        : > "$claim.again"
        incarnation=$restart
    fi
    outlived && exit 0
    printf '%s\\n' "ref=$ref" "job=$native" "host=$node" "start=$begun" "incarnation=$incarnation" \\
        > "$spool/new/$ref.$incarnation.1start" || exit 75
    trap 'trapped=1 terminated=1' TERM INT XCPU USR1 USR2 HUP
    # cancelled while the queue could not be reached: it does not begin
    [ -e "$claim.cancel" ] && finish 143 "" "cancelled before it began"
}
follow() {  # the job in the background to its end: a wait that a signal breaks off says nothing yet
    local job=$!
    while :; do trapped=; wait "$job"; code=$?; [ -z "$trapped" ] && break; done
}
finish() {  # code, reason, text
    now
    outlived && exit 0
    # a signal from outside may reach the job before it reaches us
    [ "$1" = 143 ] && [ -z "$terminated" ] && [ ! -e "$claim.cancel" ] && sleep 0.5
    # ended from outside: whether for good (cancelled, timed out) or to run again (requeued), only the queue knows
    if [ -n "$terminated" ] && [ "$1" != 0 ] && [ ! -e "$claim.cancel" ]; then
        printf '%s\\n' "job=$native" "ref=$ref" > "$spool/new/$ref.$incarnation.3stopped"
        exit 143
    fi
    local end=$REPLY pause
    for pause in 1 2 4 8 15 30 0; do  # a full disk may be emptied; exit code 74 shows the queue that there is no record
        record "$@" 2>/dev/null && exit 0
        sleep "$pause"
    done
    exit 74
}
record() {
    local report=$spool/new/$ref.$incarnation.2end
    printf '%s\\n' "ref=$ref" "job=$native" "host=$node" "start=$begun" "end=$end" "incarnation=$incarnation" \\
        "code=$1" "reason=$2" "text=$3" "figures=$figures" "complete=1" > "$report" && sync "$report"
}
"""


def array_script(dialect: type[Dialect], spool: str, array: str) -> str:
    """The text that the queue is given for a whole array, whose jobs' own parts are in `<spool>/ships/<array>`."""
    where = f"spool={shlex.quote(spool)}\narray={shlex.quote(array)}\n"
    return f'#!/bin/bash\n{where}{dialect.on_node}{_FUNCTIONS}. "$spool/ships/$array/$index.sh"\nexit 75\n'


def _launch(spec: JobSpec, dialect: Dialect) -> list[str]:
    """The words before the program that start its tasks. Raises `MemberError`."""
    kind = spec.launcher
    if kind == "none" or (kind == "auto" and spec.resources.tasks == 1):
        return []
    if kind == "auto":
        kind = dialect.launchers[0]
    if kind not in dialect.launchers:
        raise MemberError(f"this member has no launcher {spec.launcher!r}; it has {', '.join(dialect.launchers)}")
    return dialect.launch(spec, kind)


def job_script(spec: JobSpec, run_dir: str, dialect: Dialect, described: str) -> tuple[str, dict[str, str]]:
    """One job's part of the script, and the files (path to text) that it needs.

    `described` is the file in which the reader of figures finds the job. Raises `MemberError`.
    """
    files = JobFiles(run_dir, spec.ref.key, spec.ref.attempt)
    program = job_program(spec, files, _launch(spec, dialect))
    quote = shlex.quote
    lines = [f"ref={quote(f'{spec.ref.key}.{spec.ref.attempt}')}", "begin"]
    odd = []
    for name, text in {"OMP_NUM_THREADS": str(spec.resources.cores), **spec.env}.items():
        if _NAME.match(name):
            lines.append(f"export {name}={quote(text)}")
        else:
            odd.append(f"{name}={text}")
    workdir = os.path.join(run_dir, spec.workdir)
    lines.append(f"cd {quote(workdir)} || finish -1 launch {quote(f'{workdir}: cannot be entered on the node')}")
    lines += _checks(program.words[0])
    call = shlex.join((["env", *odd] if odd else []) + program.words)
    if spec.walltime:
        # a queue counts walltimes in minutes; this one is exact, and the queue's own stands behind it
        call = f"timeout --kill-after=5 {spec.walltime:.3f} {call}"
    phased = bool(spec.setup or spec.cleanup)
    if phased:
        lines.append(f"rm -f {quote(files.phase)}")
    lines += [
        # a subshell: the signals that the script must survive do what they do in the job
        f"( trap - TERM INT XCPU USR1 USR2 HUP; exec -- {call} ) \\",
        f"    </dev/null >{quote(files.stdout)} 2>{quote(files.stderr)} &",
        "follow",
    ]
    if phased:
        lines.append(f"[ $code -ne 0 ] && [ -s {quote(files.phase)} ] && read -r reason < {quote(files.phase)}")
    if spec.walltime:
        lines.append(
            'case $code in 124|137) now; awk -v a="$begun" -v b="$REPLY" '
            f"'BEGIN {{ exit !(b - a >= {spec.walltime}) }}' && reason=walltime ;; esac"
        )
    if spec.outputs:
        code = quote("from ensemble.members.kit.figures import main; main()")
        lines.append(f"figures=$({quote(sys.executable)} -c {code} {quote(described)} 2>/dev/null)")
    lines.append('finish "$code" "$reason" ""')
    return "\n".join(lines) + "\n", program.files


def _checks(word: str) -> list[str]:
    """Lines that end a job whose program is not there."""
    quote = shlex.quote
    if "/" in word:
        bad = quote(f"{word}: not executable")
        return [
            f"[ -e {quote(word)} ] || finish -1 launch {quote(f'{word}: no such program')}",
            f"[ -x {quote(word)} ] && [ ! -d {quote(word)} ] || finish -1 launch {bad}",
        ]
    missing = quote(f"{word}: not found on PATH")
    return [f"type -P -- {quote(word)} >/dev/null || finish -1 launch {missing}"]
