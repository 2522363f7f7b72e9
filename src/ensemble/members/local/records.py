"""The keeper's own log: what it is about to start, what it started, how it ended.

Lines as in the journal (number, checksum, JSON). A start is written before its spawn, and that it happened is written
before the next spawn, both without a sync: the page cache survives the death of a process, and after the death of the
machine nothing runs any more. Ends are synced before the engine gets them.
"""

from __future__ import annotations

__all__ = ["Ended", "Exited", "KeeperLog", "Started", "Starting", "read_keeper_log"]

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Union

import msgspec
from msgspec import Struct

from ensemble.journal.format import JournalFormatError, decode_line, encode_line
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec


class Starting(Struct, frozen=True, gc=False, tag="starting"):
    """An attempt is about to be spawned."""

    spec: JobSpec


class Started(Struct, frozen=True, gc=False, tag="started"):
    """It was: process `pid` began at `ticks` (clock ticks since boot); `time` is the wall clock."""

    key: str
    attempt: int
    pid: int
    ticks: int
    time: float


class Exited(Struct, frozen=True, gc=False, tag="exited"):
    """Its process ended with this wait status; its figures of merit are still to be read.

    Written before the process is reaped: as long as it is not, a guard can still see how it ended.
    """

    key: str
    attempt: int
    status: int


class Ended(Struct, frozen=True, gc=False, tag="ended"):
    """It ended."""

    event: JobEvent


Entry = Union[Starting, Started, Exited, Ended]

_DECODER = msgspec.json.Decoder(Entry)


class KeeperLog:
    """Appends entries; `sync` makes them durable. Two threads may use it.

    What could not be written (a full disk) or synced is kept and written again, and until then nothing counts as
    durable. A line that was written in part is ended first, so that it spoils no other.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encoder = msgspec.json.Encoder()
        self._number = 0
        self._lock = Lock()
        self._owed: list[bytes] = []
        self._unsynced: list[bytes] = []
        self._torn = False

    def write(self, entry: Entry) -> None:
        """Hand an entry to the operating system. Raises `OSError`; then it counts for nothing."""
        with self._lock:
            self._owed.append(self._line(entry))
            try:
                self._pay()
            except OSError:
                self._owed.pop()
                raise

    def note(self, entry: Entry) -> None:
        """Remember what has happened and must not be lost: it goes with the next `write`, `pay` or `sync`."""
        with self._lock:
            self._owed.append(self._line(entry))

    def pay(self) -> None:
        """Hand what was noted to the operating system; what cannot be written now is written later."""
        if self._owed:
            with self._lock, contextlib.suppress(OSError):
                self._pay()

    def sync(self) -> None:
        """Make everything so far durable. Raises `OSError`; then all since the last time that it did not is owed."""
        with self._lock:
            self._pay()
            taken = len(self._unsynced)
        try:
            os.fdatasync(self._file)
        except OSError:
            # the kernel may have dropped what it could not write, and would call it clean the next time
            with self._lock:
                self._owed[:0] = self._unsynced
                self._unsynced.clear()
            raise
        with self._lock:
            del self._unsynced[:taken]

    def _line(self, entry: Entry) -> bytes:
        self._number += 1
        return encode_line(self._number, self._encoder.encode(entry))

    def _pay(self) -> None:
        """Write all that is owed, in one go where the disk takes it; what was written is owed no more."""
        while self._owed:
            data = (b"\n" if self._torn else b"") + b"".join(self._owed)
            gone = os.write(self._file, data) - self._torn
            while self._owed and gone >= len(self._owed[0]):
                gone -= len(self._owed[0])
                self._unsynced.append(self._owed.pop(0))
            self._torn = gone > 0


def read_keeper_log(path: Path) -> Iterator[Entry]:
    """Yield the entries of a keeper that is gone; a torn or broken line is passed over."""
    for line in path.read_bytes().split(b"\n"):
        try:
            yield _DECODER.decode(decode_line(line)[1])
        except (JournalFormatError, msgspec.MsgspecError):
            continue
