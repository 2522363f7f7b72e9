"""What a new keeper learns of its predecessors: from their logs, their guards' logs and the processes themselves."""

from __future__ import annotations

__all__ = ["TICKS", "Adopted", "Recovery", "environment_of", "gpus_of_process", "ref_of_process"]

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from ensemble.journal.writer import process_start
from ensemble.members.local.guard import children_of, group_and_session, stat_of
from ensemble.members.local.records import Exited, Started, Starting, read_keeper_log
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec

Ref = tuple[str, int]

TICKS: Final = os.sysconf("SC_CLK_TCK")
"""Clock ticks in a second, as /proc counts them."""

SAME_TICKS: Final = TICKS
"""How far apart the noted and the real start of one process may be; a process with the same number that began further
away is another."""

LOOK_SECONDS: Final = 0.01
"""Seconds between two looks at what a guard is about to write."""


class Adopted(NamedTuple):
    """A job that still runs without its keeper."""

    ref: Ref
    pid: int
    start: float
    ticks: int
    """The same in clock ticks since boot."""
    stream: str


class Recovery:
    """Reads everything that earlier keepers of this member left in the run's `keeper` folder.

    An attempt is in one of four states, whoever was killed:

    * its end is in a keeper's log (`ended`);
    * its process lives (`running`);
    * its process is over: the status is in a guard's log if it was reaped, for guards write before they reap, and else
      it is read from the zombie (`unseen` with that status, or without one if every guard had been killed too);
    * no process of it ever began, for there is no stdout file: none of these, and it may be submitted again.
    """

    def __init__(self, folder: Path, name: str, stream: str) -> None:
        self.folder = folder
        self.run_dir = str(folder.parent)
        self.ended: dict[Ref, JobEvent] = {}
        self.running: list[Adopted] = []
        self.unseen: list[tuple[Ref, float, int | None]] = []
        """(ref, start, wait status): ended, and no keeper wrote it down. Status None: nobody saw it."""
        self._guards: dict[str, list[tuple[int, int]]] = {}
        """(pid, start in ticks) of the guards, by stream; start 0 where an earlier version wrote none."""
        self._specs: dict[Ref, JobSpec] = {}
        self._started: dict[Ref, tuple[str, Started]] = {}
        self._exited: dict[Ref, int] = {}
        streams = sorted(path.name[7:-4] for path in folder.glob(f"keeper.{name}@*.log"))
        # all logs are read before anything is concluded: one keeper starts a job, another sees its end
        unnamed = [(earlier, ref) for earlier in streams if earlier != stream and (ref := self._read(earlier))]
        self._conclude()
        for earlier, ref in unnamed:
            if ref not in self.ended and ref not in self._started:
                self._in_between(earlier, ref)

    def _read(self, stream: str) -> Ref | None:
        """Read one keeper's log; return the attempt that it was about to start at its end, if there is one."""
        starting: Ref | None = None
        for entry in read_keeper_log(self.folder / f"keeper.{stream}.log"):
            if isinstance(entry, Starting):
                starting = (entry.spec.ref.key, entry.spec.ref.attempt)
                self._specs[starting] = entry.spec
            elif isinstance(entry, Started):
                self._started[entry.key, entry.attempt] = (stream, entry)
                starting = None
            elif isinstance(entry, Exited):
                self._exited[entry.key, entry.attempt] = entry.status
            else:
                ref = (entry.event.key, entry.event.attempt)
                self.ended[ref] = entry.event
                if ref == starting:
                    starting = None
        return starting

    def _conclude(self) -> None:
        """Sort what was started and has no end into what runs and what nobody saw end."""
        for ref, (stream, entry) in self._started.items():
            if ref in self.ended:
                continue
            if ref in self._exited:
                self.unseen.append((ref, entry.time, self._exited[ref]))
                continue
            one = Adopted(ref, entry.pid, entry.time, entry.ticks, stream)
            over, status = self.end_of(one)
            while over and status is None and _is_zombie(one.pid) and self.guarded(stream):
                # another user's zombie (setuid) does not show its status: the guard is about to write it
                time.sleep(LOOK_SECONDS)
                _, status = self.end_of(one)
            if over:
                self.unseen.append((ref, entry.time, status))
            else:
                self.running.append(one)

    def _in_between(self, stream: str, ref: Ref) -> None:
        """The one attempt that its keeper may have spawned and not written down: it died in between.

        Its stdout exists if and only if its process did. Then it is the process with its environment; or, as it has
        ended, the one leader of a process group in the guards' log, or a zombie under them, that no `started` names.
        """
        suffix = "" if ref[1] == 1 else f".{ref[1]}"
        stdout = self.folder.parent / "jobs" / ref[0] / f"stdout{suffix}"
        if not stdout.exists():
            return
        start = stdout.stat().st_ctime
        known = {entry.pid for _, entry in self._started.values()}
        while True:
            orphans = self.orphans(stream)
            for pid in _processes():
                if pid not in known and ref_of_process(pid, self.run_dir) == ref and _leads(pid):
                    self.running.append(Adopted(ref, pid, start, process_start(pid), stream))
                    return
            # between its fork and its `exec` it looks like the keeper
            if not any(os.fsencode(stream) in _command_line(pid) for pid in orphans):
                break
            time.sleep(LOOK_SECONDS)
        strangers: dict[int, int] = {}
        for pid in orphans:
            fields = stat_of(pid)
            if pid not in known and fields and fields[0] == "Z" and int(fields[2]) == pid:
                strangers[pid] = int(fields[49])
        # read last: a zombie that was gone by then is in it
        log = self._guard_log(stream)
        strangers |= {pid: status for pid, (status, leads) in log.items() if pid not in known and leads}
        self.unseen.append((ref, start, next(iter(strangers.values())) if len(strangers) == 1 else None))

    def _guard_log(self, stream: str) -> dict[int, tuple[int, bool]]:
        """What the guards of a stream wrote: wait status, and whether it led its process group, by pid."""
        path = self.folder / f"guard.{stream}.log"
        found: dict[int, tuple[int, bool]] = {}
        guards: list[tuple[int, int]] = []
        if path.exists():
            for line in path.read_text().splitlines():
                words = line.split()
                if words[:1] == ["guard"]:
                    guards.append((int(words[1]), int(words[2]) if len(words) > 2 else 0))
                elif len(words) == 3:
                    # the first counts: the number can only be used again after its process was reaped
                    found.setdefault(int(words[0]), (int(words[1]), words[2] == "1"))
        self._guards[stream] = guards
        return found

    def end_of(self, one: Adopted) -> tuple[bool, int | None]:
        """Whether a job that runs without its keeper is over, and its wait status if anybody saw it."""
        fields = stat_of(one.pid)
        if fields and abs(int(fields[19]) - one.ticks) <= SAME_TICKS:
            if fields[0] not in "ZX":
                return False, None
            # field 52; it is only shown for processes of our own user
            return True, int(fields[49]) if _is_ours(one.pid) else None
        found = self._guard_log(one.stream).get(one.pid)
        return True, found[0] if found is not None else None

    def guarded(self, stream: str) -> bool:
        """Whether a guard of that stream lives."""
        return bool(self._living(stream))

    def orphans(self, stream: str = "") -> list[int]:
        """The children of the guards of a stream (empty: of all): jobs that lost their keeper and what those left."""
        guards = [pid for one in ([stream] if stream else self._guards) for pid in self._living(one)]
        return [child for pid in guards for child in children_of(pid) if child not in guards]

    def _living(self, stream: str) -> list[int]:
        if stream not in self._guards:
            self._guard_log(stream)
        return [pid for pid, ticks in self._guards[stream] if ticks and process_start(pid) == ticks]

    def spec_of(self, ref: Ref) -> JobSpec:
        """The description of an attempt that an earlier keeper started."""
        return self._specs[ref]


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def environment_of(pid: int) -> dict[bytes, bytes]:
    """What a process began with; nothing where it is gone or another's."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(entry.partition(b"=")[::2] for entry in content.split(b"\0"))


def gpus_of_process(pid: int) -> tuple[int, ...]:
    """The GPUs that a job of ours was given."""
    words = environment_of(pid).get(b"CUDA_VISIBLE_DEVICES", b"").split(b",")
    return tuple(int(word) for word in words if word.isdigit())


def ref_of_process(pid: int, run_dir: str) -> Ref | None:
    """The attempt of this run that a process belongs to, by its environment."""
    found = environment_of(pid)
    if found.get(b"ENSEMBLE_RUN_DIR", b"") != os.fsencode(run_dir):
        return None
    try:
        return found.get(b"ENSEMBLE_KEY", b"").decode(), int(found.get(b"ENSEMBLE_ATTEMPT", b"1"))
    except ValueError:
        return None


def _is_ours(pid: int) -> bool:
    try:
        return os.geteuid() in (0, os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return False


def _is_zombie(pid: int) -> bool:
    return stat_of(pid)[:1] == ["Z"]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _leads(pid: int) -> bool:
    return group_and_session(pid)[0] == pid
