"""The two ends of the numbered stream of events: what was sent, what came in, what is durable. No I/O.

Events are numbered from 1 within one life of the agent. The agent keeps each until it is acknowledged; the service
takes each number once. `n`, the place in the member's own stream, passes through untouched.
"""

from __future__ import annotations

__all__ = ["Flood", "Gap", "EventInbox", "EventOutbox"]

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from ensemble.model.events import JobEvent, MemberEvent, NativeEvent

SourceEvent = JobEvent | NativeEvent | MemberEvent


class Flood(Exception):
    """The other side sent more events than it had credit for."""


class Gap(Exception):
    """Numbers are missing, or make no sense."""


class EventOutbox:
    """The agent's end: keeps events until they are durable on the other side.

    `last` is the number of the newest event; those from `first` on are kept; those up to `sent` are on their way.
    """

    def __init__(self) -> None:
        self.kept: deque[SourceEvent] = deque()
        self.first = 1
        self.sent = 0
        self.credit = 0
        self.position = 0
        """The last `n` known to be durable."""
        self._waiting: deque[tuple[int, asyncio.Future[int]]] = deque()

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self.first + len(self.kept) - 1

    def put(self, events: Sequence[SourceEvent]) -> asyncio.Future[int]:
        """Take events; the future gives the last durable `n` once all of them are durable (or nobody wants them)."""
        self.kept.extend(events)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self.last < self.first:
            future.set_result(self.position)
        else:
            self._waiting.append((self.last, future))
        return future

    def ready(self) -> int:
        """How many events may be sent now."""
        return max(0, min(self.last, self.credit) - self.sent)

    def take(self, most: int) -> tuple[int, list[SourceEvent]]:
        """The next events to send and the number of the first; they count as sent."""
        begin = self.sent + 1
        count = min(most, self.ready())
        skip = begin - self.first
        events = list(islice(self.kept, skip, skip + count))
        self.sent += count
        return begin, events

    def put_back(self, count: int) -> None:
        """The last `count` events taken were not sent after all."""
        self.sent -= count

    def acknowledge(self, durable: int, credit: int) -> None:
        """All up to `durable` is safe. Raises `Gap` for a number that was never sent."""
        if durable > self.sent:
            raise Gap(f"event {durable} is acknowledged and {self.sent} was the last one sent")
        kept, position = self.kept, self.position
        for _ in range(durable + 1 - self.first):
            n = kept.popleft().n
            if n > position:
                position = n
        self.first, self.position = max(self.first, durable + 1), position
        self.credit = max(self.credit, credit)
        self._tell(durable)

    def resume(self, received: int, credit: int) -> None:
        """Go on on a new stream, after the last event that came through. Raises `Gap` when it is not kept any more."""
        if not self.first - 1 <= received <= self.last:
            raise Gap(f"event {received} was the last one received; {self.first} to {self.last} are kept")
        self.sent = received
        self.credit = credit

    def hold(self) -> None:
        """Send nothing before it is said from where."""
        self.sent = self.first - 1
        self.credit = 0

    def begin(self, position: int) -> int:
        """Begin a new session after `position` of the member's stream, 0 where that is a new one; return the number
        before its first event."""
        durable = 0
        for place, event in enumerate(self.kept, 1):
            if 0 < event.n <= position:
                durable = place
        # what has no number of its own and stands before a durable one is durable with it: they went in order
        for _ in range(durable):
            self.kept.popleft()
        self.first += durable
        self.position = position
        self.sent = self.first - 1
        self.credit = 0
        self._tell(self.sent)
        return self.sent

    def drop(self, position: int) -> None:
        """Nobody wants these events any more: the member keeps them, and makes those after `position` again."""
        self.first += len(self.kept)
        self.kept.clear()
        self.sent = self.first - 1
        self.credit = 0
        self._tell(self.sent)
        self.position = position

    def _tell(self, durable: int) -> None:
        while self._waiting and self._waiting[0][0] <= durable:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_result(self.position)


class EventInbox:
    """The service's end: takes each number once and in order, and gives credit."""

    def __init__(self, begin: int, window: int) -> None:
        """`begin`: the number before the first event of the session."""
        self.received = begin
        self.durable = begin
        self.window = window
        self.credit = begin + window

    def accept(self, first: int, count: int) -> int:
        """How many of the `count` events from number `first` are old and must be left out.

        Raises `Gap` where numbers are missing, and `Flood` beyond the credit.
        """
        last = first + count - 1
        if first > self.received + 1 or first < 1:
            raise Gap(f"event {first} came after {self.received}")
        if last > self.credit:
            raise Flood(f"event {last} was sent and there was credit up to {self.credit}")
        old = min(count, self.received + 1 - first)
        self.received = max(self.received, last)
        return old

    def made_durable(self, number: int) -> None:
        """All up to `number` is durable: that much more may come."""
        self.durable = max(self.durable, number)
        self.credit = self.durable + self.window
