"""A member whose calls have an end: one that does not answer raises, so that nothing waits for it for ever."""

from __future__ import annotations

__all__ = ["CALL_SECONDS", "Answering", "Unanswered"]

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final, TypeVar

from ensemble.members.contract import CloseMode, Context, Hello, Member, Page, Receipt
from ensemble.model.errors import MemberError
from ensemble.model.jobs import AttemptRef, JobSpec

T = TypeVar("T")

CALL_SECONDS: Final = 300
"""How long a call may take. A member that can tell sooner that its queue does not answer puts itself `down`."""

CANCEL_SECONDS: Final = 1.0
"""How long a call that was cancelled may take to end."""


class Unanswered(MemberError):
    """A call has taken longer than `CALL_SECONDS`."""

    def __init__(self, call: str) -> None:
        super().__init__(f"no answer to `{call}` for {CALL_SECONDS} s", transient=True)


class Answering:
    """A member (`members.contract.Member`) of which each call that carries out a command ends within `CALL_SECONDS`.

    Seconds are counted only while this process runs: a machine that was suspended, or a process that was stopped, is no
    reason to give a member up. `open` may wait as long as there is hope, as for an agent that has yet to start.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self.owing = 0
        """For how many seconds a call has been without an answer."""

    async def open(self, context: Context) -> Hello:
        """Open the member."""
        return await self._member.open(context)

    async def close(self, mode: CloseMode) -> None:
        """Let go of it."""
        await self._member.close(mode)

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Hand over jobs."""
        return await self._within("submit", self._member.submit(batch, jobs))

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """End jobs."""
        return await self._within("cancel", self._member.cancel(refs, grace))

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Bring it to so many nodes."""
        return await self._within("resize", self._member.resize(command, nodes))

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Read part of a job's file; whoever asks says how long to wait."""
        return await self._member.fetch(ref, path, offset, limit)

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that it knows."""
        pages = self._member.inventory()
        while (page := await self._within("inventory", _next(pages))) is not None:
            yield page

    async def _within(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(call)
        try:
            for second in range(CALL_SECONDS):
                self.owing = second
                done, _ = await asyncio.wait([task], timeout=1.0)
                if done:
                    return task.result()
            raise Unanswered(name)
        finally:
            self.owing = 0
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=CANCEL_SECONDS)
            with contextlib.suppress(BaseException):
                # looked at, so that nobody is told of it once more
                task.exception()


async def _next(pages: AsyncIterator[Page]) -> Page | None:
    return await anext(pages, None)
