"""What a measuring job notes around its application: lines on stderr that begin with `#ensemble`.

They are not on stdout, where a pattern of a figure of merit might take one for the application's.
"""

from __future__ import annotations

__all__ = ["MARK", "Counters", "Notes", "RankRecord", "read_notes"]

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

MARK: Final = "#ensemble "
_PROC: Final = "/proc/"


class RankCall(Struct, frozen=True):
    """One MPI function as a rank called it; `ns` is the time inside it in nanoseconds."""

    call: str
    count: int
    ns: int
    bytes: int


class RankRecord(Struct, frozen=True, kw_only=True):
    """What the interposer wrote for one rank. Times are nanoseconds, sizes bytes.

    `wall` is the time since the process was started, `window` the time between MPI_Init and MPI_Finalize, to which the
    other times belong. `run_delay` is the time in which it could have run and had no core.
    """

    format: int
    rank: int
    size: int
    pid: int
    host: str
    library: str
    started: int
    wall: int
    init: int
    window: int
    mpi: int
    io: int
    user: int
    system: int
    voluntary: int
    involuntary: int
    read: int
    written: int
    memory: int
    run_delay: int | None = None
    calls: tuple[RankCall, ...]


class Counters(Struct, frozen=True):
    """The machine's counters at one moment, as the kernel shows them, and the canary beside it.

    `time` is in seconds since the Unix epoch, `canary` the seconds that a fixed piece of work took (0: not noted).
    `files` are the first lines of files in /proc, by path; that of the job's own shell is `self`.
    """

    time: float = 0.0
    canary: float = 0.0
    files: Mapping[str, str] = {}


class Notes(Struct, frozen=True):
    """Everything that a job noted. `environment` holds lines by what they are from."""

    about: Mapping[str, str]
    environment: Mapping[str, list[str]]
    before: Counters
    after: Counters
    ranks: tuple[RankRecord, ...]


def read_notes(lines: Iterable[str]) -> Notes:
    """Take the notes out of a job's output. A line that is damaged is left out."""
    about: dict[str, str] = {}
    environment: dict[str, list[str]] = {}
    moments: dict[str, dict[str, str]] = {"before": {}, "after": {}}
    ranks: dict[int, RankRecord] = {}
    for line in lines:
        # what an application wrote may have ended without a newline
        kind, _, rest = line.rstrip("\n").partition(MARK)[2].partition(" ")
        word, _, value = rest.partition(" ")
        if kind == "about":
            about[word] = value
        elif kind == "environment":
            environment.setdefault(word, []).append(value)
        elif kind in moments:
            moments[kind][word] = value
        elif kind == "rank":
            try:
                record = msgspec.json.decode(rest, type=RankRecord)
            except msgspec.MsgspecError:
                continue
            ranks[record.rank] = record
    in_order = tuple(record for _, record in sorted(ranks.items()))
    return Notes(about, environment, _counters(moments["before"]), _counters(moments["after"]), in_order)


def _counters(found: Mapping[str, str]) -> Counters:
    files = {path: line for path, line in found.items() if path.startswith(_PROC)}
    own = next((path for path in files if path.split("/")[2].isdigit()), None)
    if own is not None:
        files["self"] = files.pop(own)
    return Counters(_number(found.get("time")), _number(found.get("canary")), files)


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
