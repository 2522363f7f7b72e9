"""A run in a thread of this process: what is durable of it, what is asked of it, and its end."""

from __future__ import annotations

__all__ = ["BackgroundRun"]

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ensemble.model.decisions import Record
from ensemble.model.events import Requested
from ensemble.runtime import Observer, RunLoop, RunOptions, RunResult

Drive = Callable[[RunOptions, Sequence[Observer]], Awaitable[RunResult]]


class BackgroundRun:
    """Drives a run in a thread. All methods are for the threads of the script."""

    def __init__(self, drive: Drive, options: RunOptions) -> None:
        """`drive` begins the run, or continues it, and returns its result."""
        self._drive_run = drive
        self._options = options
        self._changed = threading.Condition()
        self.durable = 0
        """The number of the last durable record."""
        self._path = Path()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run_loop: RunLoop | None = None
        self._asked: set[Future[Record | None]] = set()
        self._interrupts = 0
        self.result: RunResult | None = None
        self._error: BaseException | None = None
        # a daemon: a script that ends leaves its run as a crash would, to be resumed
        self._thread = threading.Thread(target=self._work, name="ensemble", daemon=True)

    def begin(self) -> Path:
        """Start; return the run's directory once there is one. Raises what the run raised before that."""
        self._thread.start()
        with self._changed:
            # from the first durable record on, the journal answers
            self._changed.wait_for(lambda: self.durable > 0 or self.over)
        if self.durable == 0 and self._error is not None:
            raise self._error
        return self._path

    @property
    def over(self) -> bool:
        """Whether the thread has left the run."""
        return self.result is not None or self._error is not None

    def wait_for_more(self, seen: int, timeout: float | None = None) -> bool:
        """Wait until more than `seen` records are durable, or the run is over; whether that was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.durable > seen or self.over, timeout)

    def wait(self, timeout: float | None = None) -> RunResult:
        """Wait for the end. Raises `TimeoutError`, or what the run raised."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.over, timeout):
                raise TimeoutError(f"run {self._path.name} still goes on")
        self._thread.join()
        self.raise_error()
        assert self.result is not None
        return self.result

    def raise_error(self) -> None:
        """Raise what the run raised, if it did."""
        if self._error is not None:
            raise self._error

    # ---- requests ----------------------------------------------------------------------------------

    def ask(self, request: Requested) -> Record | None:
        """Make a request; return its record once that is durable. None: the run ended, or was left, before."""
        answer: Future[Record | None] = Future()
        with self._changed:
            if self.over or self._loop is None:
                return None
            # whatever becomes of the thread, its end answers what is still open
            self._asked.add(answer)
            self._loop.call_soon_threadsafe(self._enter, request, answer)
        return answer.result()

    def _enter(self, request: Requested, answer: Future[Record | None]) -> None:
        """In the run's thread: let the loop decide, and answer when it is durable."""
        assert self._run_loop is not None

        def settle(entered: asyncio.Future[Record | bool]) -> None:
            with self._changed:
                self._asked.discard(answer)
            record = None if entered.cancelled() else entered.result()
            answer.set_result(record if isinstance(record, Record) else None)

        self._run_loop.enter([request]).add_done_callback(settle)

    def detach(self) -> None:
        """Leave the run; its jobs go on."""
        with self._changed:
            if self._loop is not None and self._run_loop is not None and not self.over:
                self._loop.call_soon_threadsafe(self._run_loop.detach)

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """While this is open, Ctrl-C is for the run: once drains, twice cancels, three times is for the script."""
        here = threading.current_thread() is threading.main_thread()
        if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, *_: object) -> None:
        self._interrupts += 1
        # no lock: this thread may hold it
        if self._interrupts > 2 or self._loop is None or self._run_loop is None or self.over:
            raise KeyboardInterrupt
        request = Requested("pause" if self._interrupts == 1 else "cancel", "SIGINT")
        self._loop.call_soon_threadsafe(self._run_loop.post, request)

    # ---- the thread --------------------------------------------------------------------------------

    def _work(self) -> None:
        result, failed = None, None
        try:
            result = asyncio.run(self._drive())
        except BaseException as error:
            failed = error
        with self._changed:
            self.result, self._error = result, failed
            unanswered, self._asked = self._asked, set()
            self._changed.notify_all()
        for answer in unanswered:
            answer.set_result(None)

    async def _drive(self) -> RunResult:
        with self._changed:
            self._loop = asyncio.get_running_loop()
        return await self._drive_run(replace(self._options, signals=False, opened=self._opened), [self._observe])

    def _opened(self, loop: RunLoop) -> None:
        with self._changed:
            self._run_loop = loop
            self._path = Path(loop.run_dir)
            self._changed.notify_all()

    def _observe(self, record: Record) -> None:
        with self._changed:
            self.durable = record.seq
            self._changed.notify_all()
