"""What is kept of a run's Flux jobs in the run's directory: `<run>/flux/<member>/`.

token       what the jobs are recognised by, whatever else has run under the same name
epoch       the highest epoch of an engine that was here; a lower one is refused
instance    the Flux instance that has the jobs: its mark, its address and its host
released    a line for each job that was released: from then on it may have run, even if Flux forgets it
ends        a line for each end that was read from files which were then removed
"""

from __future__ import annotations

__all__ = ["PREVIOUS", "Instance", "Records", "settle"]

import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec
from msgspec import Struct

from ensemble.members.kit.epoch import EpochGuard
from ensemble.members.kit.files import write_durably
from ensemble.members.kit.records import DurableLog
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent

Ref = tuple[str, int]

PREVIOUS: Final = "ENSEMBLE_FLUX_PREVIOUS"
"""Environment variable: `gone` says that the instance which had this run's jobs has ended."""


class Instance(Struct, frozen=True):
    """A Flux instance: a mark in its key-value store, and where it was reached."""

    mark: str
    uri: str
    host: str


class Records:
    """Files only; every method blocks and raises `OSError`."""

    def __init__(self, run_dir: str, member: str) -> None:
        self.folder = Path(run_dir) / "flux" / member
        self.epoch = EpochGuard(self.folder)
        self._released = DurableLog()

    def open(self, epoch: int) -> str:
        """Take over; return the token. Raises `MemberError` when a newer engine has."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.epoch.take(epoch)
        path = self.folder / "token"
        if not path.exists():
            write_durably(path, token_hex(8).encode())
        self._released.open(self.folder / "released")
        return path.read_text()

    def instance(self) -> Instance | None:
        """The instance that has the jobs; None before there was one."""
        try:
            return msgspec.json.decode((self.folder / "instance").read_bytes(), type=Instance)
        except FileNotFoundError:
            return None

    def moved(self, instance: Instance) -> None:
        """From now on jobs are with this instance."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self.folder / "instance", msgspec.json.encode(instance))

    def released(self) -> dict[Ref, int]:
        """The Flux job of each attempt that was released. A torn line belongs to a job that was not."""
        found: dict[Ref, int] = {}
        for line in (self.folder / "released").read_text(errors="replace").splitlines(keepends=True):
            words = line.split(" ")
            if len(words) == 4 and words[3] == ".\n":
                found[words[1], int(words[2])] = int(words[0])
        return found

    def release(self, jobs: Iterable[tuple[int, Ref]]) -> None:
        """Write down, durably, that these may run from now on."""
        self._released.append("".join(f"{native} {key} {attempt} .\n" for native, (key, attempt) in jobs).encode())

    def keep(self, ends: Iterable[JobEvent]) -> None:
        """Write down, durably, what soon cannot be read again."""
        log = DurableLog()
        log.open(self.folder / "ends")
        try:
            log.append(b"".join(msgspec.json.encode(end) + b"\n" for end in ends))
        finally:
            log.close()

    def kept(self) -> dict[Ref, JobEvent]:
        """The ends that `keep` wrote down."""
        found: dict[Ref, JobEvent] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / "ends").read_bytes().splitlines():
                with contextlib.suppress(msgspec.MsgspecError):
                    end = msgspec.json.decode(line, type=JobEvent)
                    found[end.key, end.attempt] = end
        return found

    def close(self) -> None:
        """Close the log."""
        self._released.close()


def settle(records: Records, mark: str, uri: str) -> None:
    """Check that the run's jobs, if there are any, are in the instance with this mark, and write it down. Blocks.

    `uri` is the address in the file, empty for that of `FLUX_URI`. Raises `MemberError` when the jobs may be in another
    instance, and run there; `OSError`.
    """
    here = Instance(mark, uri or os.environ.get("FLUX_URI", ""), socket.gethostname())
    before = records.instance()
    if before is not None:
        if before.mark == mark:
            return
        if os.environ.get(PREVIOUS) != "gone" and _may_be_alive(before, here):
            raise MemberError(
                f"this run's jobs are with another Flux instance ({before.uri} on {before.host}): "
                f"resume the run there, or, if that instance has ended, here with {PREVIOUS}=gone in the environment"
            )
    records.moved(here)


def _may_be_alive(before: Instance, here: Instance) -> bool:
    if before.host != here.host:
        return True
    # at one address there is one instance: where this one answers, the former has ended
    return before.uri != here.uri and _reachable(before.uri)


def _reachable(uri: str) -> bool:
    """Whether something listens at an address; where that cannot be seen from here (`ssh://`), it is assumed."""
    kind, _, path = uri.partition("://")
    if kind != "local":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
