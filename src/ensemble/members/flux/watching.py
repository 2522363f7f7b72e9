"""Watching a Flux queue without a run: its events, and its nodes and jobs whenever they change."""

from __future__ import annotations

__all__ = ["QueueWatch", "observe", "payload"]

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from ensemble.members.contract import Observation
from ensemble.members.flux import calls
from ensemble.members.flux.broker import Broker
from ensemble.members.flux.entries import SENTINEL, Entry
from ensemble.members.flux.register import Register
from ensemble.members.flux.sizes import Sizes, read_sizes
from ensemble.model.errors import MemberError
from ensemble.session.backoff import Backoff

_LOOK: Final = 1.0
"""Seconds between two looks at what is free, while jobs come and go."""
_AGAIN: Final = (0.25, 2.0)
"""The first and the longest delay before another attempt to connect, in seconds."""


class QueueWatch:
    """One connection to a queue that only looks."""

    def __init__(
        self,
        uri: str,
        changed: Callable[[Sizes, Register], None],
        entry: Callable[[Entry, Broker], None] = lambda entry, broker: None,
        *,
        history: bool = False,
    ) -> None:
        """`changed` is called with the sizes and the jobs, at most once a second, when one has changed; `entry` with
        each entry of the journal that comes from now on, with `history` also with those of the past."""
        self._changed, self._entry, self._history = changed, entry, history
        self._register = Register("", "", {}, str)
        self._past = True
        self._dirty, self._over = asyncio.Event(), asyncio.Event()
        self._why = ""
        self._broker = Broker(uri, self._receive, self._lost, self._dirty.set)

    async def run(self) -> str:
        """Watch until the broker is gone, and return why, or until `stop` is called, and return nothing.

        Raises `MemberError` when there is no broker, and when it does not say what it has.
        """
        await self._broker.open()
        over = asyncio.create_task(self._over.wait())
        sizes = asyncio.create_task(self._measure())
        try:
            await asyncio.wait((over, sizes), return_when=asyncio.FIRST_COMPLETED)
            if sizes.done():
                sizes.result()
        finally:
            for task in (over, sizes):
                task.cancel()
            await self._broker.close()
        return self._why

    def stop(self) -> None:
        """Stop watching."""
        self._over.set()

    def _lost(self, why: str) -> None:
        self._why = why
        self._over.set()

    def _receive(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.id == SENTINEL:
                self._past = False
                continue
            self._register.count(entry)
            if not self._past or self._history:
                self._entry(entry, self._broker)
        if not self._past:
            self._dirty.set()

    async def _measure(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            self._changed(read_sizes(await self._broker.call(calls.sizes())), self._register)
            await asyncio.sleep(_LOOK)


def payload(sizes: Sizes, register: Register) -> Observation:
    """Nodes and queue, under the names of the service's `Status`."""
    queue = dict.fromkeys(("new", "depend", "priority", "sched", "run", "cleanup", "inactive"), 0)
    for state in register.active.values():
        queue[state] += 1
    queue["inactive"] = register.inactive
    nodes = {
        "node_cores_free": sizes.cores_free,
        "node_cores_up": sizes.cores_up,
        "node_up_count": sizes.nodes_up,
        "node_free_count": sizes.nodes_free,
    }
    return Observation(nodes, queue)


async def observe(found: Callable[[Observation | None], None], where: Callable[[], str]) -> None:
    """Call `found` with what a queue has whenever that changes, and with None while no broker answers; until cancelled.

    `where` gives the address of the broker; it is asked before each attempt to connect.
    """
    backoff = Backoff(*_AGAIN)

    def changed(sizes: Sizes, register: Register) -> None:
        backoff.reset()
        found(payload(sizes, register))

    while True:
        # whoever opens the queue is told why that fails
        with contextlib.suppress(MemberError):
            await QueueWatch(where(), changed).run()
        found(None)
        await asyncio.sleep(backoff.next())
