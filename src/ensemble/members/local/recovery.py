"""What a new keeper learns of its predecessors: from their logs, the guards' and the processes themselves."""

from __future__ import annotations

__all__ = ["TICKS", "Adopted", "Recovery", "gpus_of_process", "ref_of_process"]

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from ensemble.journal.writer import process_start
from ensemble.members.local.records import Ended, Exited, Started, Starting, read_keeper_log
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec

Ref = tuple[str, int]

TICKS: Final = os.sysconf("SC_CLK_TCK")
"""Clock ticks in a second, as /proc counts them."""


class Adopted(NamedTuple):
    """A job that still runs without its keeper."""

    ref: Ref
    pid: int
    start: float
    ticks: int
    """The same in clock ticks since boot."""
    stream: str


class Recovery:
    """Reads everything that earlier keepers of this member left in the run's `keeper` folder."""

    def __init__(self, folder: Path, name: str, stream: str) -> None:
        self.folder = folder
        self.run_dir = str(folder.parent)
        self.ended: dict[Ref, JobEvent] = {}
        self.running: list[Adopted] = []
        self.unseen: list[tuple[Ref, float, int | None]] = []
        """(ref, start, wait status): ended, and no keeper wrote it down. Status None: nobody saw it."""
        self._guards: dict[str, int] = {}
        self._specs: dict[Ref, JobSpec] = {}
        streams = sorted(path.name[7:-4] for path in folder.glob(f"keeper.{name}@*.log"))
        for earlier in streams:
            if earlier != stream:
                self._read(earlier)

    def _read(self, stream: str) -> None:
        started: dict[Ref, Started] = {}
        exited: dict[Ref, int] = {}
        starting: Ref | None = None
        for entry in read_keeper_log(self.folder / f"keeper.{stream}.log"):
            if isinstance(entry, Starting):
                starting = (entry.spec.ref.key, entry.spec.ref.attempt)
                self._specs[starting] = entry.spec
            elif isinstance(entry, Started):
                started[entry.key, entry.attempt] = entry
                starting = None
            elif isinstance(entry, Exited):
                exited[entry.key, entry.attempt] = entry.status
            else:
                assert isinstance(entry, Ended)
                ref = (entry.event.key, entry.event.attempt)
                self.ended[ref] = entry.event
                started.pop(ref, None)
                if ref == starting:
                    starting = None
        known = {entry.pid for entry in started.values()}
        for ref, entry in started.items():
            if ref in self.ended:
                continue
            if ref in exited:
                self.unseen.append((ref, entry.time, exited[ref]))
                continue
            begun = process_start(entry.pid)
            if begun and abs(begun - entry.ticks) <= 100:
                self.running.append(Adopted(ref, entry.pid, entry.time, entry.ticks, stream))
            else:
                self.unseen.append((ref, entry.time, self._await_status(stream, entry.pid)))
        if starting is not None and starting not in self.ended:
            self._in_between(stream, starting, known)

    def _in_between(self, stream: str, ref: Ref, known: set[int]) -> None:
        """The one attempt that its keeper may have spawned and not written down: it died in between.

        Its stdout exists if and only if its process did. It is then found by its environment, or its end is the one
        leader of a process group in the guard's log that no `started` names.
        """
        suffix = "" if ref[1] == 1 else f".{ref[1]}"
        stdout = self.folder.parent / "jobs" / ref[0] / f"stdout{suffix}"
        if not stdout.exists():
            return
        start = stdout.stat().st_ctime
        until = time.monotonic() + 2.0
        while True:
            for pid in _processes():
                if pid not in known and ref_of_process(pid, self.run_dir) == ref and _leads(pid):
                    self.running.append(Adopted(ref, pid, start, process_start(pid), stream))
                    return
            statuses = self._guard_log(stream)
            strangers = [status for pid, (status, leads) in statuses.items() if pid not in known and leads]
            if strangers or not self._alive(stream) or time.monotonic() > until:
                break
            time.sleep(0.01)
        self.unseen.append((ref, start, strangers[0] if len(strangers) == 1 else None))

    def _guard_log(self, stream: str) -> dict[int, tuple[int, bool]]:
        path = self.folder / f"guard.{stream}.log"
        found: dict[int, tuple[int, bool]] = {}
        if not path.exists():
            return found
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == ["guard"]:
                self._guards[stream] = int(words[1])
            elif len(words) == 3:
                found[int(words[0])] = (int(words[1]), words[2] == "1")
        return found

    def _await_status(self, stream: str, pid: int) -> int | None:
        """How a process that has ended did so, as its guard saw it; the guard is given the moment it needs."""
        until = time.monotonic() + 2.0
        while True:
            found = self._guard_log(stream).get(pid)
            if found is not None:
                return found[0]
            if not self._alive(stream) or time.monotonic() > until:
                return None
            time.sleep(0.01)

    def status_of(self, pid: int) -> int | None:
        """The wait status of an adopted job, once its guard has written it."""
        for one in self.running:
            if one.pid == pid:
                found = self._guard_log(one.stream).get(pid)
                return found[0] if found is not None else None
        return None

    def guard_lives(self, one: Adopted) -> bool:
        """Whether a guard is there that will write down how this job ends."""
        return self._alive(one.stream)

    def _alive(self, stream: str) -> bool:
        guard = self._guards.get(stream, 0)
        if not guard:
            return False
        try:
            return b"ensemble.members.local.guard" in Path(f"/proc/{guard}/cmdline").read_bytes()
        except OSError:
            return False

    def spec_of(self, ref: Ref) -> JobSpec:
        """The description of an attempt that an earlier keeper started."""
        return self._specs[ref]


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _environment(pid: int) -> dict[bytes, bytes]:
    """What a process began with; nothing where it is gone or another's."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(entry.partition(b"=")[::2] for entry in content.split(b"\0"))


def gpus_of_process(pid: int) -> tuple[int, ...]:
    """The GPUs that a job of ours was given."""
    words = _environment(pid).get(b"CUDA_VISIBLE_DEVICES", b"").split(b",")
    return tuple(int(word) for word in words if word.isdigit())


def ref_of_process(pid: int, run_dir: str) -> Ref | None:
    """The attempt of this run that a process belongs to, by its environment."""
    found = _environment(pid)
    if found.get(b"ENSEMBLE_RUN_DIR", b"") != os.fsencode(run_dir):
        return None
    try:
        return found.get(b"ENSEMBLE_KEY", b"").decode(), int(found.get(b"ENSEMBLE_ATTEMPT", b"1"))
    except ValueError:
        return None


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False
