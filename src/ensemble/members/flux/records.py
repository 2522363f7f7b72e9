"""The little that is kept beside a run of its jobs with Flux: `<run>/flux/<member>/`.

token       what our jobs are known by, whatever else has run under the same name
epoch       the highest engine that was here; a lower one is refused
instance    the Flux instance that has our jobs: its mark, its address and its host
released    a line for each job that was let go: from then on it may have run, though Flux forget it
ends        a line for each end that was read from files which were removed then
"""

from __future__ import annotations

__all__ = ["Instance", "Records"]

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from secrets import token_hex

import msgspec
from msgspec import Struct

from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent

Ref = tuple[str, int]


class Instance(Struct, frozen=True):
    """A Flux instance: a mark in its key-value store, and where it was reached."""

    mark: str
    uri: str
    host: str


class Records:
    """Files only; every method blocks and raises `OSError`."""

    def __init__(self, run_dir: str, member: str) -> None:
        self.folder = Path(run_dir) / "flux" / member
        self._log = -1
        self._guard = threading.Lock()
        """A release that nobody waits for any more may still be written when the log is let go of."""

    def open(self, epoch: int) -> str:
        """Take over; return the token. Raises `MemberError` when a newer engine has."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.epoch() > epoch:
            raise MemberError(f"engine {self.epoch()} has taken over; {epoch} is too old")
        self._write("epoch", str(epoch))
        path = self.folder / "token"
        if not path.exists():
            self._write("token", token_hex(8))
        self.close()
        self._log = os.open(self.folder / "released", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(self._log).st_size:
            os.write(self._log, b"\n")  # whatever was torn stays a line of its own
        return path.read_text()

    def epoch(self) -> int:
        """The highest engine that was here."""
        try:
            return int((self.folder / "epoch").read_text() or 0)
        except FileNotFoundError:
            return 0

    def instance(self) -> Instance | None:
        """The instance that has our jobs; None before there was one."""
        try:
            return msgspec.json.decode((self.folder / "instance").read_bytes(), type=Instance)
        except FileNotFoundError:
            return None

    def moved(self, instance: Instance) -> None:
        """From now on jobs are with this instance."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write("instance", msgspec.json.encode(instance).decode())

    def released(self) -> dict[Ref, int]:
        """The job of each ref that was let go. A torn line is of a job that was not."""
        found: dict[Ref, int] = {}
        for line in (self.folder / "released").read_text(errors="replace").splitlines(keepends=True):
            words = line.split(" ")
            if len(words) == 4 and words[3] == ".\n":
                found[words[1], int(words[2])] = int(words[0])
        return found

    def release(self, jobs: Iterable[tuple[int, Ref]]) -> None:
        """Write down, durably, that these may run from now on."""
        data = "".join(f"{native} {key} {attempt} .\n" for native, (key, attempt) in jobs).encode()
        with self._guard:
            while data:
                data = data[os.write(self._log, data) :]
            os.fdatasync(self._log)

    def keep(self, ends: Iterable[JobEvent]) -> None:
        """Write down, durably, what soon cannot be read again."""
        with open(self.folder / "ends", "ab") as file:
            for end in ends:
                file.write(b"\n" + msgspec.json.encode(end) + b"\n")  # whatever was torn stays a line of its own
            file.flush()
            os.fdatasync(file.fileno())

    def kept(self) -> dict[Ref, JobEvent]:
        """What was written down so."""
        found: dict[Ref, JobEvent] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / "ends").read_bytes().splitlines():
                with contextlib.suppress(msgspec.MsgspecError):
                    end = msgspec.json.decode(line, type=JobEvent)
                    found[end.key, end.attempt] = end
        return found

    def close(self) -> None:
        """Let go of the log."""
        with self._guard:
            if self._log >= 0:
                os.close(self._log)
            self._log = -1

    def _write(self, name: str, text: str) -> None:
        beside = self.folder / f"{name}.tmp"
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.folder / name)
