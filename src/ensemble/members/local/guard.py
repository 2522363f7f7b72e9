"""The guards: the keeper's parent and grandparent, which write down how its jobs end should it be killed.

The outer guard starts the inner one, and that starts the keeper. All three are child subreapers (prctl(2)), so the
jobs of a keeper that was killed become children of the nearest of them that lives. A guard writes the exit status of
each to `guard.<stream>.log` *before* it reaps the process, so that the status can always be read: from the log when
the process is gone, from /proc while it is a zombie. Guards start nothing else, take no requests and end when they have
no child left.

This file is also a program of its own, which needs the standard library only and is read from standard input:

    python -I -S - inner RUN_DIR NAME STREAM PYTHON < guard.py
"""

import contextlib
import ctypes
import json
import os
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36
KEEPER = "from ensemble.members.local.keeper import main; main()"


def become_subreaper() -> None:
    """Make orphaned descendants this process' children (Linux 3.4). The setting outlives an `exec`."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stat_of(pid: int, thread: int = 0) -> list[str]:
    """The fields of `/proc/<pid>/stat` from the state on (field 3), of one thread if asked; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []


def group_and_session(pid: int) -> tuple[int, int]:
    """Process group and session of a process, also of a zombie; zeros when it is gone."""
    fields = stat_of(pid)
    return (int(fields[2]), int(fields[3])) if fields else (0, 0)


def children_of(pid: int) -> list[int]:
    """The children of a process with one thread, zombies included; none when it is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []


def wait_status(found: os.waitid_result) -> int:
    """The status as `waitpid` gives it of a process that was looked at with `waitid`."""
    if found.si_code == os.CLD_EXITED:
        return found.si_status << 8
    return found.si_status | (0x80 if found.si_code == os.CLD_DUMPED else 0)


class Guard:
    """One guard. Guards and keeper share a process group of which no job is part."""

    def __init__(self, log: int) -> None:
        """`log` is the descriptor of `guard.<stream>.log`, open for appending."""
        self.log = log
        self.group = os.getpgrp()
        self._jobs: set[int] | None = None
        self._unnamed = False

    def watch(self) -> None:
        """Write down and reap every child until there is none."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                continue
            pid = found.si_pid
            group, session = group_and_session(pid)
            if group != self.group:
                if group == pid and self._is_job(pid, session):
                    # while it is not reaped the number of its group cannot be anybody else's
                    _kill(-pid)
                os.write(self.log, b"%d %d %d\n" % (pid, wait_status(found), group == pid))
            os.waitpid(pid, 0)
            self._end_strays()

    def _end_strays(self) -> None:
        """End what outlived the last of the jobs, unless a keeper or guard of ours is there to do it."""
        children = [(pid, *group_and_session(pid)) for pid in children_of(os.getpid())]
        if any(group == self.group for _, group, _ in children):
            return
        if any(group == pid and self._is_job(pid, session) for pid, group, session in children):
            return
        for pid, _, _ in children:
            _kill(pid)

    def _is_job(self, pid: int, session: int) -> bool:
        """Whether a process that leads its group is a job: the keeper, which is dead, wrote down which it started."""
        if self._jobs is None:
            self._read_jobs()
        assert self._jobs is not None
        return pid in self._jobs or (self._unnamed and session == os.getsid(0))

    def _read_jobs(self) -> None:
        self._jobs = set()
        starting = None
        try:
            guard_log = os.readlink(f"/proc/self/fd/{self.log}")
            folder, name = os.path.split(guard_log)
            with open(os.path.join(folder, "keeper" + name.removeprefix("guard")), "rb") as file:
                for line in file:
                    if b'"type":"starting"' in line:
                        starting = line
                    elif b'"type":"started"' in line:
                        self._jobs.add(json.loads(line[line.index(b"{") :])["pid"])
                        starting = None
                    elif b'"type":"ended"' in line:
                        starting = None
        except (OSError, ValueError, KeyError):
            starting = b"cannot be read"
        # one job may have been started and not been written down
        self._unnamed = starting is not None


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _sign(log: int) -> None:
    """Write down that this process is a guard, and when it began."""
    pid = os.getpid()
    os.write(log, b"guard %d %s\n" % (pid, stat_of(pid)[19].encode()))


def main() -> None:
    """Run a guard: the outer one, or both (`inner`, followed by the keeper's arguments)."""
    if sys.argv[1] == "outer":
        Guard(int(sys.argv[2])).watch()
        return
    run_dir, name, stream, python = sys.argv[2:6]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    log = os.open(f"{run_dir}/keeper/guard.{stream}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _sign(log)
    if os.fork():
        # the outer guard names neither the run nor this package on its command line, so that it outlives
        # somebody who kills by name; it reads this file from its beginning again
        os.set_inheritable(log, True)
        os.lseek(0, 0, os.SEEK_SET)
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-", "outer", str(log)])  # noqa: S606
    become_subreaper()
    _sign(log)
    quiet = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    os.posix_spawn(python, [python, "-c", KEEPER, run_dir, name, stream], os.environ, file_actions=[quiet])
    Guard(log).watch()


if __name__ == "__main__":
    main()
