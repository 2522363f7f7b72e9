"""Sizes and times of a session, in one place: both sides hold each other to them."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
"""The version of the protocol that is spoken here."""

MIN_VERSION: Final = 1
"""The oldest version that is understood here."""

MESSAGE_BYTES: Final = 4 << 20
"""No message is larger; gRPC refuses it with RESOURCE_EXHAUSTED."""

BATCH_BYTES: Final = 1 << 20
"""Where a batch of ours is cut (one that holds a single thing may be larger)."""

ITEM_BYTES: Final = 2 << 20
"""A job or a page's item beyond this is refused with a message that says so."""

EVENT_BYTES: Final = 256 << 10
"""An event beyond this loses its texts."""

BATCH_EVENTS: Final = 512
"""Events in one message."""

BATCH_SECONDS: Final = 0.002
"""How long an event waits for others when one was sent just before."""

WINDOW: Final = 8192
"""Events that may be on their way without being durable: the credit."""

HELLO_SECONDS: Final = 10.0
"""How long a peer may take to say hello."""

PING_SECONDS: Final = 5.0
"""After so long without a message something is said."""

SILENCE_SECONDS: Final = 15.0
"""After so long without hearing anything the stream counts as broken."""

CALL_SECONDS: Final = 10.0
"""The deadline of unary calls."""

FETCH_BYTES: Final = 1 << 20
"""One piece of a job's file."""
