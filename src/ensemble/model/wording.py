"""How counted things are written in messages."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 node`, `2 nodes`, `3,000 jobs`.

    `plural` is the noun's plural where an `s` does not make it.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
