"""Reading a journal: the chain of segments, each as far as its successor accepted it."""

from __future__ import annotations

__all__ = ["Loaded", "Segment", "last_record", "load", "read", "segments", "writer_of"]

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ensemble.journal.format import FORMAT, Header, JournalFormatError, decode_line, directory, segment_path
from ensemble.journal.snapshots import newest_snapshot
from ensemble.model.decisions import Record
from ensemble.model.errors import JournalCorrupt, JournalError

_HEADER = msgspec.json.Decoder(Header)
_RECORD = msgspec.json.Decoder(Record)
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """One writer's file. `end` is how many bytes of it count; -1 for the last one: as far as it is whole."""

    path: Path
    header: Header
    start: int
    end: int


@dataclass(slots=True)
class Loaded:
    """What a resume starts from: the newest good snapshot and every record after it."""

    run: str
    epoch: int
    snapshot: dict[str, Any] | None
    snapshot_seq: int
    records: Iterator[Record]
    warnings: list[str] = field(default_factory=list)


def _epochs(folder: Path) -> list[int]:
    return sorted(
        int(entry.name[8:])
        for entry in folder.iterdir()
        if entry.name.startswith("journal.") and entry.name[8:].isdigit()
    )


def segments(run_dir: str | Path) -> list[Segment]:
    """Return the segments that count, oldest first.

    A segment without a whole header never had a writer that got anywhere; it counts for nothing. Raises
    `JournalError` when there is no journal, or one of a newer format.
    """
    folder = directory(run_dir)
    if not folder.is_dir():
        raise JournalError(f"{run_dir} holds no journal")
    known: dict[int, tuple[Path, Header, int]] = {}
    for epoch in _epochs(folder):
        path = segment_path(folder, epoch)
        with path.open("rb") as file:
            line = file.readline()
        try:
            if not line.endswith(b"\n"):
                raise JournalFormatError("no end of line")
            header = _HEADER.decode(decode_line(line[:-1])[1])
        except (JournalFormatError, msgspec.MsgspecError):
            continue
        if header.format > FORMAT:
            raise JournalError(f"{path} is of format {header.format}; this version reads up to {FORMAT}")
        known[epoch] = (path, header, len(line))
    if not known:
        raise JournalError(f"{folder} holds no journal")
    chain: list[Segment] = []
    epoch, end = max(known), -1
    while epoch:
        if epoch not in known:
            raise JournalCorrupt(f"segment {epoch} of {folder} is missing", str(folder))
        path, header, start = known[epoch]
        chain.append(Segment(path, header, start, end))
        epoch, end = header.previous, header.accepted
    chain.reverse()
    return chain


def writer_of(run_dir: str | Path) -> Header:
    """Return the header of the newest writer."""
    return segments(run_dir)[-1].header


class LineReader:
    """The lines of one segment, with the place of each."""

    def __init__(self, segment: Segment, offset: int = 0) -> None:
        self.segment = segment
        self.offset = offset or segment.start
        """Bytes up to here were whole, good lines."""
        self.torn = ""
        """Why the tail after `offset` does not count; empty when there is none."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, body). Raises `JournalCorrupt` for a bad line that good bytes follow."""
        end = self.segment.end
        with self.segment.path.open("rb") as file:
            file.seek(self.offset)
            rest = b""
            position = self.offset
            while True:
                want = _CHUNK if end < 0 else min(_CHUNK, end - position)
                chunk = file.read(want) if want > 0 else b""
                position += len(chunk)
                if not chunk:
                    break
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for index, line in enumerate(lines):
                    try:
                        found = decode_line(line)
                    except JournalFormatError as error:
                        last = end < 0 and index == len(lines) - 1 and not rest and not file.read(1)
                        if last:
                            self.torn = f"its last line is broken: {error}"
                            return
                        raise self._corrupt(str(error)) from None
                    yield found
                    self.offset += len(line) + 1
            if rest:
                if end >= 0:
                    raise self._corrupt("a line ends before its end")
                self.torn = f"its last {len(rest)} bytes are not a whole line"
            elif end >= 0 and position < end:
                raise self._corrupt(f"it holds {position} bytes where {end} were accepted")

    def _corrupt(self, why: str) -> JournalCorrupt:
        path = self.segment.path
        return JournalCorrupt(
            f"{path.name} is damaged at byte {self.offset}: {why}. "
            f"`ensemble journal repair {path.parent.parent}` keeps what is good",
            str(path),
            0,
            self.offset,
        )


def lines_from(segment: Segment, after: int) -> LineReader:
    """The lines of a segment from one that is not above `after` on, found by bisection: a body holds no line end.

    So what comes late in a long journal is read without all before it; where anything looks odd, from the start.
    """
    low = segment.start
    with segment.path.open("rb") as file:
        high = segment.end if segment.end >= 0 else file.seek(0, 2)
        while high - low > _CHUNK:
            middle = (low + high) // 2
            file.seek(middle)
            window = file.read(min(_CHUNK, high - middle))
            first = window.find(b"\n") + 1
            number = window[first : window.find(b" ", first)] if first else b""
            if not number.isdigit():
                # inside a record larger than the window, or a torn tail: what is wanted lies before, or here
                high = middle
            elif int(number) <= after:
                low = middle + first
            else:
                high = middle
    return LineReader(segment, low)


def read(run_dir: str | Path, after: int = 0, warn: Callable[[str], None] | None = None) -> Iterator[Record]:
    """Yield every record with a number above `after`, in order; what comes before is not looked at.

    A torn tail of the newest segment ends the reading, and `warn` is called with a message. Raises `JournalCorrupt`
    for a bad record in the middle or a gap in the numbers.
    """
    expected = 0
    chain = segments(run_dir)
    while len(chain) > 1 and chain[1].header.last_seq <= after:
        del chain[0]
    for segment in chain:
        if expected and segment.header.last_seq != expected - 1:
            raise JournalCorrupt(
                f"{segment.path.name} continues after record {segment.header.last_seq}, "
                f"but the segment before it ends with {expected - 1}",
                str(segment.path),
            )
        lines = lines_from(segment, after) if after else LineReader(segment)
        for seq, body in lines:
            if not expected and seq > after + 1:
                raise JournalCorrupt(
                    f"{segment.path.name}: record {seq} comes first where {after + 1} should", str(segment.path), seq
                )
            if expected and seq != expected:
                raise JournalCorrupt(
                    f"{segment.path.name}: record {seq} follows record {expected - 1} at byte {lines.offset}",
                    str(segment.path),
                    seq,
                    lines.offset,
                )
            expected = seq + 1
            if seq > after:
                try:
                    yield _RECORD.decode(body)
                except msgspec.MsgspecError as error:
                    raise JournalCorrupt(
                        f"{segment.path.name}: record {seq} is not one this version knows ({error})",
                        str(segment.path),
                        seq,
                        lines.offset,
                    ) from None
        if lines.torn and warn is not None:
            warn(f"{segment.path.name}: {lines.torn}; nothing was done on it, and it is cut off")


def last_record(run_dir: str | Path) -> Record | None:
    """Return the newest whole record without reading those before it, None when there is none. Raises as `read`."""
    for segment in reversed(segments(run_dir)):
        body = b""
        # above every number: only what cannot be skipped is read
        for seq, line in lines_from(segment, sys.maxsize):
            body = line if seq else body
        if body:
            try:
                return _RECORD.decode(body)
            except msgspec.MsgspecError as error:
                raise JournalCorrupt(
                    f"the last record of {segment.path.name} is not one this version knows ({error})"
                ) from None
    return None


def load(run_dir: str | Path) -> Loaded:
    """Return what a resume needs. Nothing is written."""
    warnings: list[str] = []
    chain = segments(run_dir)
    header = chain[-1].header
    found = newest_snapshot(directory(run_dir), warnings)
    seq, data = found if found is not None else (0, None)
    return Loaded(header.run, header.epoch, data, seq, read(run_dir, seq, warnings.append), warnings)
