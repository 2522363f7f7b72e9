"""What a member keeps in the run's directory: its attempts, and how they ended, whatever Kubernetes still knows.

<run>/kubernetes/<member>/
    epoch          the highest engine that was here; a lower one is refused
    identity       what tells this run from others of the same name in the cluster
    claims/        <key>.<attempt>.<node>, made by pods where the run directory is on a shared volume
    log.<stream>   entries, durable before the engine or Kubernetes learns of them
"""

from __future__ import annotations

__all__ = ["Cancelled", "Created", "Entry", "Known", "Ref", "Store", "Void"]

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec
from msgspec import Struct

from ensemble.members.kit.epoch import EpochGuard
from ensemble.members.kit.files import write_durably
from ensemble.members.kit.records import DurableLog
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec

Ref = tuple[str, int]
"""Key and attempt."""


class Known(Struct, frozen=True, tag="known"):
    """An attempt that was handed over. From here on Kubernetes may have it."""

    spec: JobSpec


class Created(Struct, frozen=True, tag="created"):
    """Attempts whose objects were created: where there is none later, it was deleted."""

    refs: list[Ref]


class Void(Struct, frozen=True, tag="void"):
    """Attempts that Kubernetes refused."""

    refs: list[Ref]


class Cancelled(Struct, frozen=True, tag="cancelled"):
    """Attempts that are to end on our request."""

    refs: list[Ref]


Entry = Known | Created | Void | Cancelled | JobEvent

_DECODER: Final = msgspec.json.Decoder(Entry)


class Store:
    """Files. `open`, `remembered` and `close` block and raise `OSError`."""

    def __init__(self, run_dir: str, member: str) -> None:
        self.folder = Path(run_dir) / "kubernetes" / member
        self.guard = EpochGuard(self.folder)
        self._log = DurableLog()
        self._writing = asyncio.Lock()
        self._waiting: list[Entry] = []

    def open(self, epoch: int, stream: str, identity: str) -> str:
        """Take over, and return the identity of the run: the one given, else what was drawn for it once.

        Raises `MemberError` when a newer engine has taken over.
        """
        (self.folder / "claims").mkdir(parents=True, exist_ok=True)
        self.guard.take(epoch)
        kept = self.folder / "identity"
        if not identity and kept.exists():
            identity = kept.read_text()
        elif not identity:
            identity = token_hex(6)
            write_durably(kept, identity.encode())
        self._log.open(self.folder / f"log.{stream}")
        return identity

    def claim(self, ref: Ref) -> str:
        """The path of an attempt's claim, to which the number of the pod is added."""
        return str(self.folder / "claims" / f"{ref[0]}.{ref[1]}")

    def remembered(self) -> Iterator[Entry]:
        """Every entry of earlier openings, what an attempt is first. A torn line is passed over."""
        entries: list[Entry] = []
        for path in sorted(self.folder.glob("log.*")):
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(msgspec.MsgspecError):
                    entries.append(_DECODER.decode(line))
        yield from sorted(entries, key=lambda entry: not isinstance(entry, Known))

    async def append(self, entries: Sequence[Entry]) -> None:
        """Make entries durable; those of calls that come together are written together. Raises `OSError`."""
        self._waiting += entries
        async with self._writing:
            batch, self._waiting = self._waiting, []
            if batch:
                lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in batch)
                await asyncio.shield(asyncio.to_thread(self._log.append, lines))

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()
