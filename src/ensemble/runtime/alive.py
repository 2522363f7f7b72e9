"""Whether a process works on a run. Everything that cancels, resumes, removes or lists runs asks here."""

from __future__ import annotations

__all__ = ["Presence", "RunProcess", "left_with", "process_at", "refuse_if_alive"]

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ensemble.journal import Header, writer_of
from ensemble.journal.writer import machine, process_start
from ensemble.model.errors import InputError, JournalError

TOUCH_SECONDS: Final = 10.0
"""How often a run renews its lease."""

LEASE_SECONDS: Final = 60.0
"""Age at which the lease of a run on another machine has expired: nobody works on the run any more."""


@dataclass(frozen=True, slots=True)
class RunProcess:
    """The process that works on a run.

    `evidence`: `process` where the process itself was found on this machine, `lease` where another machine renewed the
    run's lease lately, `unknown` where neither can be told. Unknown counts as alive.
    """

    writer: Header
    evidence: Literal["process", "lease", "unknown"]

    def __str__(self) -> str:
        where = f"process {self.writer.pid} on host {self.writer.host or 'unknown'}"
        return {
            "process": where,
            "lease": f"{where} (it renewed its lease within the last {LEASE_SECONDS:g} s)",
            "unknown": f"{where}, as far as can be told: there is no lease to go by",
        }[self.evidence]

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return self.evidence == "process"


def process_at(run_dir: Path) -> RunProcess | None:
    """The process that works on a run, None when there is none any more.

    A process notes when it leaves a run. On the writer's own machine (the same kernel and the same process numbers) its
    process is looked up. From anywhere else the lease counts: a file in the run's directory whose age is measured on
    the file system's own clock, so that machines need not agree on the time. Raises `JournalError` where there is no
    journal.
    """
    writer = writer_of(run_dir)
    if _left(run_dir, writer.epoch).exists():
        return None
    if _is_here(writer):
        begun = process_start(writer.pid)
        return RunProcess(writer, "process") if begun and begun == writer.pid_started else None
    evidence = _lease(run_dir, writer.epoch)
    return RunProcess(writer, evidence) if evidence != "expired" else None


def left_with(run_dir: Path) -> str:
    """The outcome with which the last process left a run that is not over, such as `detached`.

    Empty when it did not leave the run but was ended, or works on it still.
    """
    with contextlib.suppress(OSError, JournalError):
        return _left(run_dir, writer_of(run_dir).epoch).read_text()
    return ""


def refuse_if_alive(run_dir: Path, instead: str) -> None:
    """Raises `InputError` when a process works, or may work, on a run; `instead` says what to do about it."""
    found = process_at(run_dir)
    if found is not None:
        raise InputError(f"run {run_dir.name} is being run by {found}; {instead}")


def _left(run_dir: Path, epoch: int) -> Path:
    """The file by which the writer of an epoch says that it has left the run."""
    return run_dir / "journal" / f"left.{epoch}"


def _is_here(writer: Header) -> bool:
    # journals of version 0.1 do not name the machine
    return writer.machine == machine() if writer.machine else writer.host == socket.gethostname()


def _lease(run_dir: Path, epoch: int) -> Literal["lease", "unknown", "expired"]:
    folder = run_dir / "journal"
    try:
        try:
            touched, evidence = (folder / f"alive.{epoch}").stat().st_mtime, "lease"
        except FileNotFoundError:
            # it has not made its lease yet, or somebody has removed it: it renews it soon
            touched, evidence = (folder / f"journal.{epoch:08d}").stat().st_mtime, "unknown"
        if _now(folder) - touched >= LEASE_SECONDS:
            return "expired"
        return "lease" if evidence == "lease" else "unknown"
    except OSError:
        return "unknown"


class Presence:
    """Holds the lease of a run from its making to `end`."""

    def __init__(self, run_dir: Path, epoch: int) -> None:
        folder = run_dir / "journal"
        self._path = folder / f"alive.{epoch}"
        self._left = _left(run_dir, epoch)
        for earlier in (*folder.glob("alive.*"), *folder.glob("left.*")):
            _remove(earlier)
        self._renew()
        self._task = asyncio.create_task(self._keep(), name="lease")

    def _renew(self) -> None:
        # a disk that refuses is no reason to stop the run
        with contextlib.suppress(OSError):
            self._path.touch()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(TOUCH_SECONDS)
            await asyncio.to_thread(self._renew)

    def end(self, outcome: str) -> None:
        """Give the lease back: this process leaves the run, with an `outcome` where the run is not over."""
        self._task.cancel()
        with contextlib.suppress(OSError):
            # a disk that is full still renames
            self._path.write_text(outcome)
        with contextlib.suppress(OSError):
            self._path.rename(self._left)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _now(folder: Path) -> float:
    """The time on the file system's own clock."""
    probe = folder / f".now.{socket.gethostname()}.{os.getpid()}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        _remove(probe)
