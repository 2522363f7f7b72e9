"""Keeping two engines of one run apart."""

from __future__ import annotations

__all__ = ["EpochGuard"]

from pathlib import Path

from ensemble.members.kit.files import write_durably
from ensemble.model.errors import MemberError


class EpochGuard:
    """The file `epoch` in a member's folder: the highest epoch of an engine that opened the member.

    Every method blocks and raises `OSError`.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "epoch"

    def current(self) -> int:
        """The highest epoch so far; 0 before the first."""
        try:
            return int(self._path.read_text() or 0)
        except FileNotFoundError:
            return 0

    def check(self, epoch: int) -> None:
        """Raise `MemberError` when a newer engine than that of `epoch` has opened the member."""
        current = self.current()
        if current > epoch:
            raise MemberError(f"a newer engine (epoch {current}) has taken over; this one (epoch {epoch}) is too old")

    def take(self, epoch: int) -> None:
        """Make `epoch` the highest, durably. Raises `MemberError` when a newer engine was here."""
        self.check(epoch)
        write_durably(self._path, str(epoch).encode())
