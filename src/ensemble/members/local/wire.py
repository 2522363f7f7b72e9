"""The messages between engine and keeper: msgpack frames, each after its length (4 bytes, big-endian)."""

from __future__ import annotations

__all__ = ["Frames", "encode_frame"]

from typing import Any

import msgspec

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder()
_LIMIT = 64 << 20


def encode_frame(message: Any) -> bytes:
    """Return one message ready to be sent."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Takes bytes as they come, gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Return the messages that `data` completes. Raises `ValueError` for a frame beyond 64 MiB."""
        self._buffer += data
        found = []
        place = 0
        buffer = self._buffer
        while len(buffer) - place >= 4:
            size = int.from_bytes(buffer[place : place + 4], "big")
            if size > _LIMIT:
                raise ValueError(f"a frame of {size} bytes")
            if len(buffer) - place - 4 < size:
                break
            found.append(_DECODER.decode(buffer[place + 4 : place + 4 + size]))
            place += 4 + size
        del buffer[:place]
        return found
