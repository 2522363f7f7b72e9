"""The durable log of a run: append-only, checksummed, one writer, good on any shared file system.

`JournalWriter` appends and syncs in groups, `read` and `load` give records back, `Follower` as they come,
`repair` mends a damaged one.
"""

from ensemble.journal.following import Follower, follow
from ensemble.journal.format import Header
from ensemble.journal.reader import Loaded, last_record, load, read, segments, writer_of
from ensemble.journal.repair import RepairReport, repair
from ensemble.journal.snapshots import write_snapshot
from ensemble.journal.writer import JournalWriter

__all__ = [
    "Follower",
    "Header",
    "JournalWriter",
    "Loaded",
    "RepairReport",
    "follow",
    "last_record",
    "load",
    "read",
    "repair",
    "segments",
    "write_snapshot",
    "writer_of",
]
