"""The messages between engine and worker: JSON, each after its length (4 bytes, big-endian).

Only the standard library: a worker imports this, and every import delays its first answer.
"""

from __future__ import annotations

__all__ = ["ANSWER_LIMIT", "HEAD", "decode", "encode"]

import json
from typing import Any, Final

HEAD: Final = 4
"""Bytes that hold the length."""

ANSWER_LIMIT: Final = 1 << 20
"""Bytes that an answer may have."""


def encode(message: dict[str, Any]) -> bytes:
    """Encode one message with its length. Raises `ValueError` or `TypeError` for NaN and for what is not plain data."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    return len(body).to_bytes(HEAD, "big") + body


def decode(body: bytes) -> dict[str, Any]:
    """Decode one message. Raises `ValueError` for anything else."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004 - to the caller it is one more way of being no JSON
    return message


def _plain(value: Any) -> Any:
    """Turn the numbers of numpy and similar libraries into plain ones."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 0) == 0:
        return item()
    raise TypeError(f"{type(value).__name__} is not plain data")
