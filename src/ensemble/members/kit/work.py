"""Background tasks of an open member: how a question is asked again, and how a job that does not end is killed."""

from __future__ import annotations

__all__ = ["Work", "retry"]

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ensemble.model.errors import MemberError

Answer = TypeVar("Answer")


class Work:
    """The background tasks of one opening. Failures are reported, and all tasks end together."""

    def __init__(self, member: str, failed: Callable[[Exception], None]) -> None:
        """`failed` is called with what a task raised: a member that stays silent leaves the engine waiting."""
        self._member = member
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the background."""
        task = asyncio.create_task(work, name=f"member {self._member}")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failed(error)

    def kill_later(self, grace: float, kill: Callable[[], Awaitable[None]]) -> None:
        """The last step of a cancellation: after `grace` seconds call `kill`, which ends what has not ended by itself.

        If the queue does not answer then, the member has not failed: whoever opens it next asks again.
        """

        async def ladder() -> None:
            await asyncio.sleep(grace)
            with contextlib.suppress(MemberError):
                await kill()

        self.start(ladder())

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def retry(ask: Callable[[], Awaitable[Answer]], seconds: float, pause: float) -> Answer:
    """Ask every `pause` seconds until there is an answer, for at most `seconds`; the first time at once.

    Raises the last `MemberError`, and at once one that is not transient.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return await ask()
        except MemberError as error:
            if not error.transient or time.monotonic() >= until:
                raise
        await asyncio.sleep(pause)
