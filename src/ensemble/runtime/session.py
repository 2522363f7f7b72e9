"""One run, live: events in, records made durable, commands out, in that order always."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ensemble.engine import Engine, Status
from ensemble.functions import FunctionWorkers
from ensemble.journal import JournalWriter, write_snapshot
from ensemble.members.contract import CloseMode
from ensemble.model.decisions import Call, Cancel, Firing, Record, Resize, StopMember, Submit, Upkeep
from ensemble.model.errors import EnsembleError, Fenced, JournalError, JournalFull
from ensemble.model.events import Event, Fault, JobEvent, MemberEvent, NativeEvent, Requested, RunResumed, TimerFired
from ensemble.model.failpoints import failpoint
from ensemble.runtime.link import Link

Observer = Callable[[Record], None]

BATCH = 2000
"""Events decided on before they are made durable together."""

SNAPSHOT_RECORDS = 100_000
"""Records between snapshots."""

EXIT_CODES = {"success": 0, "stopped": 0, "terminated": 0, "failed": 1, "limit": 3, "drained": 130, "cancelled": 130}


@dataclass(slots=True)
class RunResult:
    """How a run ended.

    `outcome` is success, stopped, terminated, failed, limit, drained, cancelled, or, where it can be resumed:
    detached, fenced, storage.
    """

    run: str
    run_dir: str
    outcome: str
    reason: str
    exit_code: int
    status: Status
    warnings: list[str] = field(default_factory=list)


class Session:
    """Drives one engine until its run ends."""

    def __init__(
        self,
        engine: Engine,
        journal: JournalWriter,
        run_dir: str,
        functions: FunctionWorkers | None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.engine = engine
        self.journal = journal
        self.run_dir = run_dir
        self.functions = functions
        self.observers = list(observers)
        self.links: dict[str, Link] = {}
        self.warnings: list[str] = []
        self.detached = False
        self._inbox: asyncio.Queue[tuple[Sequence[Event], asyncio.Future[int] | None]] = asyncio.Queue()
        self._last = engine.state.now
        self._heartbeat = engine.spec.logging.heartbeat
        self._beat_at = 0.0
        self._snapshot_at = engine.state.seq
        self._calls: set[asyncio.Task[None]] = set()

    # ---- what others call --------------------------------------------------------------------------

    async def put(self, events: Sequence[JobEvent | NativeEvent | MemberEvent]) -> int:
        """Take in a member's events (`members.contract.Sink`); returns when they are durable."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait((events, future))
        return await future

    def post(self, *events: Event) -> None:
        """Take in events without waiting for them."""
        self._inbox.put_nowait((events, None))

    def request(self, what: str, by: str) -> None:
        """A person asks: drain, cancel, terminate."""
        self.post(Requested(what, by))

    def detach(self) -> None:
        """Stop at once and leave everything running, to be resumed."""
        self.detached = True
        self._inbox.put_nowait(((), None))

    # ---- the loop ----------------------------------------------------------------------------------

    async def drive(self, first: Event) -> RunResult:
        """Run to the end. `first` is `RunStarted` or `RunResumed`. The links must be there, not yet opened."""
        self.post(first)
        for link in self.links.values():
            link.start(resumed=isinstance(first, RunResumed))
        outcome, reason, code = "", "", 1
        try:
            while self.engine.ended is None and not self.detached:
                await self._turn()
            if self.engine.ended is not None:
                outcome, reason = self.engine.ended.outcome, self.engine.ended.reason
                code = EXIT_CODES.get(outcome, 1)
            else:
                outcome, reason, code = "detached", "on request; `ensemble resume` goes on with it", 0
        except JournalFull as error:
            outcome, reason, code = "storage", f"{error}. Make room, then `ensemble resume {self.run_dir}`", 1
            self._last_words("disk-full", str(error))
        except Fenced as error:
            outcome, reason, code = "fenced", str(error), 1
        except JournalError as error:
            outcome, reason, code = "storage", f"{error}. `ensemble resume {self.run_dir}` goes on with it", 1
        await self._close(outcome)
        status = self.engine.status()
        return RunResult(self.engine.state.run, self.run_dir, outcome, reason, code, status, self.warnings)

    async def _turn(self) -> None:
        """Decide on what has come, make it durable, act on it."""
        waiting: list[tuple[asyncio.Future[int], int]] = []
        records: list[Record] = []
        for events, future in await self._gather():
            position = 0
            for event in events:
                records.append(self._decide(event))
                position = getattr(event, "n", 0) or position
            if future is not None:
                waiting.append((future, position))
        if records:
            await asyncio.get_running_loop().run_in_executor(None, self.journal.sync)
            for record in records:
                self._send(record)
            for record in records:
                for observer in self.observers:
                    observer(record)
        for future, position in waiting:
            if not future.done():
                future.set_result(position)
        if self.engine.state.seq - self._snapshot_at >= SNAPSHOT_RECORDS:
            self._snapshot_at = self.engine.state.seq
            data = self.engine.snapshot()
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().run_in_executor(
                    None, write_snapshot, self.run_dir, self._snapshot_at, data
                )

    def _decide(self, event: Event) -> Record:
        self._last = max(time.time(), self._last)
        record = self.engine.handle(event, self._last)
        self.journal.append(record)
        return record

    async def _gather(self) -> list[tuple[Sequence[Event], asyncio.Future[int] | None]]:
        """Wait for something to happen, then take everything that has."""
        found: list[tuple[Sequence[Event], asyncio.Future[int] | None]] = []
        with contextlib.suppress(TimeoutError):
            found.append(await asyncio.wait_for(self._inbox.get(), self._patience()))
        size = len(found[0][0]) if found else 0
        while size < BATCH and not self._inbox.empty():
            found.append(self._inbox.get_nowait())
            size += len(found[-1][0])
        now = max(time.time(), self._last)
        wakeup = self.engine.wakeup()
        beat = bool(self._heartbeat) and now >= self._beat_at + self._heartbeat
        if beat:
            self._beat_at = now
            beat = self.engine.waiting
        if beat or (wakeup is not None and wakeup <= now):
            found.append(((TimerFired(beat),), None))
        return found

    def _patience(self) -> float | None:
        now = max(time.time(), self._last)
        times = []
        wakeup = self.engine.wakeup()
        if wakeup is not None:
            times.append(wakeup - now)
        if self._heartbeat:
            if not self._beat_at:
                self._beat_at = now
            times.append(self._beat_at + self._heartbeat - now)
        return max(0.0, min(times)) if times else None

    def _send(self, record: Record) -> None:
        """Hand the commands of a durable record to those who carry them out."""
        for step in record.steps:
            if not isinstance(step, (Firing, Upkeep)):
                continue
            for effect in step.effects:
                if isinstance(effect, (Submit, Cancel, Resize, StopMember)):
                    failpoint("runtime.before-send")
                    if effect.member in self.links:
                        self.links[effect.member].send(effect)
                elif isinstance(effect, Call):
                    self.call(effect)

    def call(self, effect: Call) -> None:
        """Start a custom function; its answer comes back as an event."""
        task = asyncio.create_task(self._call(effect), name=f"function {effect.function}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, effect: Call) -> None:
        if self.functions is None:
            raise EnsembleError(f"function {effect.function} is called and there are none")
        self.post(await self.functions.call(effect.id, effect.function, effect.args))

    # ---- the end -----------------------------------------------------------------------------------

    def _last_words(self, name: str, text: str) -> None:
        record = Record(self.journal.durable + 1, self._last, Fault(name, text))
        if not self.journal.write_last_words(record):
            self.warnings.append("the disk is so full that not even this could be written to the journal")

    async def _close(self, outcome: str) -> None:
        for task in self._calls:
            task.cancel()
        mode: CloseMode = "drain" if self.engine.ended is not None else "detach"
        if outcome in ("cancelled", "terminated"):
            mode = "cancel"
        for link in self.links.values():
            await link.close(mode)
        if self.functions is not None:
            await self.functions.close()
        while not self._inbox.empty():
            _, future = self._inbox.get_nowait()
            if future is not None and not future.done():
                future.cancel()
        try:
            self.journal.close()
        except JournalError as error:
            self.warnings.append(str(error))
