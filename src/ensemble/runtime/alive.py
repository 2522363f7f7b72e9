"""Whether a process is at a run: told by its pid on this host, by a file it touches on another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from ensemble.journal import Header, writer_of
from ensemble.journal.writer import process_start

TOUCH_SECONDS: Final = 10.0
"""How often a run touches its file."""

STALE_SECONDS: Final = 60.0
"""Age at which the file of a run on another host says that nobody is there any more."""


def writer_at(run_dir: Path) -> Header | None:
    """The writer of a run if it is still at it, None when it is gone.

    On its own host its process is looked up. From another host the age of the file it touches counts, on the file
    system's clock, so that hosts need not agree on the time. Raises `JournalError` where there is no journal.
    """
    writer = writer_of(run_dir)
    try:
        touched = _file(run_dir, writer.epoch).stat().st_mtime
        if writer.host == socket.gethostname():
            begun = process_start(writer.pid)
            return writer if begun and begun == writer.pid_started else None
        return writer if _now(run_dir) - touched < STALE_SECONDS else None
    except OSError:
        return None


class Presence:
    """Says to others that this process is at a run, from its making to `end`."""

    def __init__(self, run_dir: Path, epoch: int) -> None:
        self._path = _file(run_dir, epoch)
        for earlier in self._path.parent.glob("alive.*"):
            _remove(earlier)
        # a disk that does not let us is no reason to stop
        with contextlib.suppress(OSError):
            self._path.touch()
        self._task = asyncio.create_task(self._touch(), name="presence")

    async def _touch(self) -> None:
        while True:
            await asyncio.sleep(TOUCH_SECONDS)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.utime, self._path)

    def end(self) -> None:
        """We are leaving."""
        self._task.cancel()
        _remove(self._path)


def _file(run_dir: Path, epoch: int) -> Path:
    return run_dir / "journal" / f"alive.{epoch}"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _now(run_dir: Path) -> float:
    """The time on the file system's own clock."""
    probe = run_dir / "journal" / f".now.{socket.gethostname()}.{os.getpid()}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        _remove(probe)
