"""The keeper's own log: what it is about to start, what it started, how it ended.

Lines as in the journal (number, checksum, JSON). Starts are written before and after each spawn without a sync:
the page cache survives the death of a process, and after the death of the machine nothing runs any more. Ends are
synced before the engine hears of them.
"""

from __future__ import annotations

__all__ = ["Ended", "Exited", "KeeperLog", "Started", "Starting", "read_keeper_log"]

import os
from collections.abc import Iterator
from pathlib import Path
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
    """Appends entries; `sync` makes them durable."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encoder = msgspec.json.Encoder()
        self._number = 0

    def write(self, *entries: Entry) -> None:
        """Hand entries to the operating system. Raises `OSError`."""
        lines = []
        for entry in entries:
            self._number += 1
            lines.append(encode_line(self._number, self._encoder.encode(entry)))
        data = b"".join(lines)
        while data:
            data = data[os.write(self._file, data) :]

    def sync(self) -> None:
        """Make everything written durable. Raises `OSError`."""
        os.fdatasync(self._file)


def read_keeper_log(path: Path) -> Iterator[Entry]:
    """Yield the entries of a keeper that is gone; a torn or broken line is passed over."""
    for line in path.read_bytes().split(b"\n"):
        try:
            yield _DECODER.decode(decode_line(line)[1])
        except (JournalFormatError, msgspec.MsgspecError):
            continue
