"""One process of a job: how it is started, and what its end says."""

from __future__ import annotations

__all__ = ["NO_STORAGE", "Running", "spawn"]

import contextlib
import errno
import os
import signal
import time
from pathlib import Path
from typing import Final

from ensemble.members.kit.files import JobFiles
from ensemble.members.local.recovery import TICKS
from ensemble.members.local.slots import Placement
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec

NO_STORAGE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a disk that may be writable again later."""


class Running:
    """One process of ours (or adopted from a keeper before us)."""

    __slots__ = ("began", "files", "killed", "pid", "pidfd", "placement", "spec", "start", "wrapped")

    def __init__(
        self, spec: JobSpec, files: JobFiles, pid: int, placement: Placement, start: float, ticks: int
    ) -> None:
        self.spec = spec
        self.files = files
        self.pid = pid
        self.placement = placement
        self.start = start
        self.began = ticks / TICKS
        """When it began, in seconds since boot; 0 where that is not known."""
        self.killed = ""
        """Why we are ending it: cancelled or walltime."""
        self.wrapped = bool(spec.setup or spec.cleanup)
        self.pidfd = -1

    def now(self) -> float:
        """The time, in seconds since the epoch, as its start has it: a clock that was set since does not count."""
        if not self.began:
            return time.time()
        return self.start + max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.began)

    @property
    def strays(self) -> bool:
        """Whether some of it may live outside its process group."""
        return bool(self.spec.resources.tasks > 1 or self.wrapped or self.killed)

    def end(self, status: int | None, now: float) -> JobEvent:
        """What its wait status (None: nobody saw it) says of it."""
        outcome, reason, code, number, text = "success", "", -1, 0, ""
        if status is None:
            outcome, reason = "lost", "infrastructure"
            text = "nobody saw how it ended: its keeper and both guards had been killed"
        elif os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            outcome, reason = "failed", "signal"
        else:
            code = os.WEXITSTATUS(status)
            if code:
                outcome, reason = "failed", "exit"
                if self.wrapped and os.path.exists(self.files.phase):
                    reason = Path(self.files.phase).read_text().strip()
        if outcome == "failed" and self.killed:
            outcome, reason = ("cancelled", "cancelled") if self.killed == "cancelled" else ("failed", self.killed)
        return JobEvent(
            "",
            "",
            "inactive",
            now,
            outcome=outcome,
            reason=reason,
            exit_code=code,
            signal=number,
            start=self.start,
            text=text,
        )


def spawn(argv: list[str], env: dict[str, str], files: JobFiles) -> int:
    """Start a program in the present directory; it creates its stdout itself, exclusively. Raises `OSError`."""
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, files.stdout, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_OPEN, 2, files.stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            ),
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
        )
    except OSError as error:
        if error.errno not in NO_STORAGE:
            raise
        # it made no file, or the first and not the second: a claim of its own, and its program never began
        with contextlib.suppress(OSError):
            os.unlink(files.stdout)
        raise OSError(error.errno, error.strerror, files.stdout) from error
