"""One stream of events made of those of a member inside and of our own; and the logs that outlive the member inside."""

from __future__ import annotations

__all__ = ["Logs", "Relay"]

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ensemble.members.contract import Sink
from ensemble.members.kit.files import JobFiles, write_durably
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import FINISHED, AttemptRef

Events = Sequence[JobEvent | NativeEvent | MemberEvent]

_LOG_BYTES: Final = 64 << 20
"""The most that is kept of one file."""
_PART_BYTES: Final = 1 << 20
_AT_ONCE: Final = 8


class Relay:
    """The sink of a member inside another: it numbers the events anew, so that the outer one can put some between.

    Without the outer one's own events the numbers would be the same; with them, a new opening is a new stream.
    """

    def __init__(self, member: str, sink: Sink) -> None:
        self.down = ""
        """Why the member can do nothing any more; empty while it can."""
        self.text = ""
        """What the outer member has to say of itself: it goes along with every event of its size."""
        self.ended: Callable[[JobEvent], None] = lambda event: None
        """Called with the end of each job."""
        self.asked: Callable[[int], None] = lambda nodes: None
        """Called with the size that the member inside asks for."""
        self._member, self._sink = member, sink
        self._over: set[tuple[str, int]] = set()
        self._news = asyncio.Event()
        self._n = 0
        self._order = asyncio.Lock()

    async def put(self, events: Events) -> int:
        """Take events of the member inside. See `contract.Sink`."""
        async with self._order:
            some: list[JobEvent | NativeEvent | MemberEvent] = []
            for event in events:
                if isinstance(event, MemberEvent) and event.name == "resize":
                    self.asked(event.nodes_wanted)
                    continue
                some.append(self._own(event))
            if some and await self._sink.put(some) < self._n:
                return 0  # the run is being left: whoever comes next has them again
        return max((event.n for event in events), default=0)

    def _own(self, event: JobEvent | NativeEvent | MemberEvent) -> JobEvent | NativeEvent | MemberEvent:
        if isinstance(event, MemberEvent) and event.name == "down":
            self.down = self.down or event.text
            self._news.set()
        elif isinstance(event, MemberEvent) and event.name == "nodes" and self.text:
            event = msgspec.structs.replace(event, text=self.text)
        elif isinstance(event, JobEvent) and event.state == FINISHED:
            self._over.add((event.key, event.attempt))
            self._news.set()
            self.ended(event)
        self._n += 1
        return msgspec.structs.replace(event, n=self._n)

    async def over(self, jobs: set[tuple[str, int]]) -> None:
        """Wait until these have ended, or the member inside is down."""
        while not self.down and jobs - self._over:
            self._news.clear()
            await self._news.wait()

    async def tell(self, event: MemberEvent) -> None:
        """Put an event of the outer member."""
        async with self._order:
            await self._sink.put([self._own(event)])


class Logs:
    """What jobs have written, fetched as they end: what runs them is removed at the end of the run, with its disks."""

    def __init__(self, run: str, run_dir: str, fetch: Callable[[AttemptRef, str, int, int], Awaitable[bytes]]) -> None:
        """`fetch` is that of the member inside."""
        self._run, self._run_dir, self._fetch = run, run_dir, fetch
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._begun: set[tuple[str, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, end: JobEvent) -> None:
        """Fetch the files of a job that has ended, in time; once, however often it is called."""
        if (end.key, end.attempt) in self._begun:
            return
        self._begun.add((end.key, end.attempt))
        task = asyncio.create_task(self._keep(AttemptRef(self._run, end.key, end.attempt)), name=f"logs of {end.key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def kept(self) -> None:
        """Wait for all that is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def stop(self) -> None:
        """Fetch nothing more."""
        for task in self._tasks:
            task.cancel()

    def has(self, ref: AttemptRef, name: str) -> bool:
        """Whether a job's file is here."""
        return os.path.exists(self._path(ref, name))

    def _path(self, ref: AttemptRef, name: str) -> str:
        files = JobFiles(self._run_dir, ref.key, ref.attempt)
        return files.stdout if name == "stdout" else files.stderr

    async def _keep(self, ref: AttemptRef) -> None:
        async with self._room:
            for name in ("stdout", "stderr"):
                # a job that was never started has written nothing, and one that is not to be had is not worth a failure
                with contextlib.suppress(MemberError, OSError):
                    if not self.has(ref, name):
                        await self._keep_file(ref, name)

    async def _keep_file(self, ref: AttemptRef, name: str) -> None:
        data = bytearray()
        while len(data) < _LOG_BYTES:
            part = await self._fetch(ref, name, len(data), _PART_BYTES)
            data += part
            if len(part) < _PART_BYTES:
                break
        path = self._path(ref, name)
        await asyncio.to_thread(_write, path, bytes(data))


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_durably(Path(path), data)
