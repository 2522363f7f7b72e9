"""Mending a damaged journal: keep everything before the damage, keep the damaged bytes aside, say what is lost."""

from __future__ import annotations

__all__ = ["RepairReport", "repair"]

from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from ensemble.journal.format import JournalFormatError, decode_line, directory
from ensemble.journal.reader import LineReader, segments
from ensemble.journal.writer import JournalWriter, _signed
from ensemble.model.errors import JournalCorrupt


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What `repair` did. `damaged` is empty for a journal without damage. `kept` is the last record that counts; `lost`
    how many readable records stood after the damage and count no more; `aside` where the bytes were copied."""

    damaged: str
    kept: int
    lost: int
    aside: str


def repair(run_dir: str | Path) -> RepairReport:
    """Cut a journal at its first bad record by a new segment that accepts less. No byte is destroyed.

    The records after the damage are not used: what they decided rests on one that cannot be read. Their jobs are found
    again by the inventory of a resume.
    """
    last = 0
    for segment in segments(run_dir):
        lines = LineReader(segment)
        try:
            for seq, _ in lines:
                if last and seq != last + 1:
                    raise JournalCorrupt(f"{segment.path.name}: record {seq} follows record {last}")
                last = seq
        except JournalCorrupt as error:
            rest = segment.path.read_bytes()[lines.offset :]
            aside = directory(run_dir) / f"damaged.{segment.path.name}.{lines.offset}"
            aside.write_bytes(rest)
            lost = _readable(rest)
            newest = max(
                int(entry.name[8:]) for entry in directory(run_dir).glob("journal.*") if entry.name[8:].isdigit()
            )
            header = structs.replace(
                segment.header,
                epoch=newest + 1,
                previous=segment.header.epoch,
                accepted=lines.offset,
                last_seq=last,
            )
            for snapshot in directory(run_dir).glob("snapshot.*"):
                if int(snapshot.name[9:]) > last:
                    snapshot.rename(snapshot.with_name("damaged." + snapshot.name))
            JournalWriter(run_dir, _signed(header)).close()
            return RepairReport(str(error), last, lost, str(aside))
    return RepairReport("", last, 0, "")


def _readable(content: bytes) -> int:
    count = 0
    for line in content.split(b"\n"):
        try:
            decode_line(line)
            count += 1
        except JournalFormatError:
            continue
    return count
