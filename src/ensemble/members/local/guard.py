"""The guard: parent of the keeper, and reaper of its jobs should it be killed.

Both are child subreapers (prctl(2)), so the orphans of a killed keeper become the guard's children and their
true exit codes are not lost: it writes each to `guard.<stream>.log` for the next keeper. It starts nothing and
listens to nobody, so there is nothing in it that could fail.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Make orphaned descendants this process' children (Linux 3.4)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def process_group(pid: int) -> int:
    """The process group of a process, also of one that has ended and is not reaped; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2])
    except (OSError, ValueError, IndexError):
        return 0


def main() -> None:
    """Start the keeper (our arguments are its), outlive it, write down how its orphans end."""
    run_dir, name, stream = sys.argv[1:4]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    folder = Path(run_dir) / "keeper"
    log = os.open(folder / f"guard.{stream}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, b"guard %d\n" % os.getpid())
    code = "from ensemble.members.local.keeper import main; main()"
    keeper = os.posix_spawn(sys.executable, [sys.executable, "-c", code, run_dir, name, stream], os.environ)
    while True:
        try:
            # looked at before it is reaped: a job leads its own process group, what it started need not
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            if found is None:
                continue
            leads = process_group(found.si_pid) == found.si_pid
            _, status = os.waitpid(found.si_pid, 0)
        except ChildProcessError:
            return
        if found.si_pid != keeper:
            os.write(log, b"%d %d %d\n" % (found.si_pid, status, leads))


if __name__ == "__main__":
    main()
