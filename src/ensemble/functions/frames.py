"""What engine and worker say to each other: JSON, each message behind its length (4 bytes, big-endian).

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
    """One message ready to be sent. Raises `ValueError` or `TypeError` for NaN and for what is not plain data."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    return len(body).to_bytes(HEAD, "big") + body


def decode(body: bytes) -> dict[str, Any]:
    """One message. Raises `ValueError` when it is none."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004 - to the caller it is one more way of being no JSON
    return message


def _plain(value: Any) -> Any:
    """Numbers of numpy and its like are numbers."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 0) == 0:
        return item()
    raise TypeError(f"{type(value).__name__} is not plain data")
