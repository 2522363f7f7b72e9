r"""What stands in a journal, byte by byte (format 1).

`<run>/journal/` holds segments `journal.00000001`, `journal.00000002`, ..., one per writer (its *epoch*). A
segment is lines. A line is `<seq> <crc> <json>\n`: the record's number, the CRC-32 (ISO 3309, as in zlib) of
`<seq> <json>` as eight hexadecimal digits, and the record. The first line has seq 0 and is the `Header`.
A header names how many bytes of the segment before are accepted: what stands beyond them is void.
"""

from __future__ import annotations

__all__ = ["FORMAT", "Header", "JournalFormatError", "decode_line", "directory", "encode_line", "segment_path"]

from pathlib import Path
from typing import Final
from zlib import crc32

from msgspec import Struct

FORMAT: Final = 1


class Header(Struct, frozen=True, omit_defaults=True):
    """The first line of a segment. `accepted` bytes of segment `previous` (0: there is none) count; its last
    record is `last_seq`. `pid_started` is the start of the writer's process in clock ticks since boot (Linux
    `/proc/<pid>/stat`, field 22), so that a reused pid is not taken for the writer. `machine` names the kernel and the
    pid namespace in which `pid` means something."""

    run: str
    epoch: int
    format: int = FORMAT
    previous: int = 0
    accepted: int = 0
    last_seq: int = 0
    version: str = ""
    host: str = ""
    pid: int = 0
    pid_started: int = 0
    machine: str = ""


class JournalFormatError(ValueError):
    """A line that does not have the journal's format; the text says why."""


def directory(run_dir: str | Path) -> Path:
    """Where a run keeps its journal."""
    return Path(run_dir) / "journal"


def segment_path(folder: Path, epoch: int) -> Path:
    """The file of one writer."""
    return folder / f"journal.{epoch:08d}"


def encode_line(seq: int, body: bytes) -> bytes:
    """Return one line."""
    number = b"%d " % seq
    return b"%b%08x %b\n" % (number, crc32(body, crc32(number)), body)


def decode_line(line: bytes) -> tuple[int, bytes]:
    """Return number and body of a line without its end. Raises `JournalFormatError`."""
    first = line.find(b" ")
    if first <= 0 or line[first + 9 : first + 10] != b" ":
        raise JournalFormatError("not a line of a journal")
    try:
        seq = int(line[:first])
    except ValueError:
        raise JournalFormatError("not a line of a journal") from None
    body = line[first + 10 :]
    if b"%08x" % crc32(body, crc32(line[: first + 1])) != line[first + 1 : first + 9]:
        raise JournalFormatError("its checksum does not match")
    return seq, body
