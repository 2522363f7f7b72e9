"""Reading a journal while it is written, each byte once."""

from __future__ import annotations

__all__ = ["Follower", "follow"]

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ensemble.journal.reader import LineReader, Segment, segments
from ensemble.model.decisions import Record
from ensemble.model.errors import JournalCorrupt

_RECORD = msgspec.json.Decoder(Record)


class Follower:
    """Reads the records of a run as they come. It remembers its position, so each call reads only what is new."""

    def __init__(self, run_dir: str | Path, after: int = 0) -> None:
        """`after`: only records with a higher number."""
        self._run_dir = run_dir
        self._last = after
        self._epoch = 0
        self._offset = 0

    def new(self, upto: int | None = None) -> Iterator[Record]:
        """Yield what has come since, up to record `upto` (left out: all that is whole, though it may not have reached
        the disk yet and so may never have counted). Raises `JournalCorrupt` as `read` does."""
        for segment in self._ahead():
            if segment.header.epoch != self._epoch:
                self._epoch, self._offset = segment.header.epoch, 0
            lines = LineReader(segment, self._offset)
            for seq, body in lines:
                if upto is not None and seq > upto:
                    return
                if seq > self._last:
                    record = self._decoded(segment, seq, body)
                    # noted before the yield: who stops reading here goes on after this record
                    self._last = seq
                    self._offset = lines.offset
                    yield record
            self._offset = lines.offset

    def _ahead(self) -> list[Segment]:
        """The segment being read and those after it."""
        return [segment for segment in segments(self._run_dir) if segment.header.epoch >= self._epoch]

    def _decoded(self, segment: Segment, seq: int, body: bytes) -> Record:
        try:
            return _RECORD.decode(body)
        except msgspec.MsgspecError as error:
            raise JournalCorrupt(
                f"{segment.path.name}: record {seq} is not one this version knows ({error})", str(segment.path), seq
            ) from None


def follow(
    run_dir: str | Path, after: int = 0, over: Callable[[], bool] = lambda: False, pause: float = 0.2
) -> Iterator[Record]:
    """Yield records as they come, until `over()` says that no more will.

    Looks again every `pause` seconds: no notification works on every shared file system.
    """
    follower = Follower(run_dir, after)
    while True:
        finished = over()
        yield from follower.new()
        if finished:
            return
        time.sleep(pause)
