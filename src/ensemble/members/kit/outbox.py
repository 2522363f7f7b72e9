"""Events on their way from a member to the engine."""

from __future__ import annotations

__all__ = ["Outbox"]

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from ensemble.members.contract import Sink
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent

Outgoing = JobEvent | NativeEvent | MemberEvent


class Outbox:
    """Numbers events from 1, puts them into the sink in their order, and keeps each until the sink has taken it.

    One outbox serves one opening of a member: a new opening is a new stream, and its numbers begin again.
    """

    def __init__(self, member: str, sink: Sink) -> None:
        """`member` is the name under which the member reports that it is down."""
        self.member = member
        self.down = ""
        """Why the member can do nothing any more; empty while it can."""
        self._sink = sink
        self._waiting: deque[Outgoing] = deque()
        self._n = 0
        self._filled, self._settled = asyncio.Event(), asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> Sequence[Outgoing]:
        """The events that the sink has not taken, in order."""
        return self._waiting

    def put(self, event: Outgoing) -> None:
        """Add an event; it gets the next number of the stream."""
        self._n += 1
        self._waiting.append(msgspec.structs.replace(event, n=self._n))
        self._filled.set()

    def go_down(self, why: str) -> None:
        """Send `MemberEvent("down")` with the reason; only the first reason counts."""
        if not self.down:
            self.down = why
            self.put(MemberEvent(self.member, "down", time.time(), text=why))
            self.settle()

    async def deliver(self) -> None:
        """Hand events to the sink until cancelled. An event leaves the outbox once the sink has taken it."""
        while True:
            while self._waiting:
                batch = list(self._waiting)
                await self._sink.put(batch)
                for _ in batch:
                    self._waiting.popleft()
            self.settle()
            self._filled.clear()
            if not self._waiting:
                await self._filled.wait()

    def settle(self) -> None:
        """Make `drained` check again whether there is anything left to wait for."""
        self._settled.set()

    async def drained(self, busy: Callable[[], object]) -> None:
        """Wait until `busy()` is false and every event is delivered, or until the member is down."""
        while (busy() or self._waiting) and not self.down:
            self._settled.clear()
            await self._settled.wait()
