"""The loop of one run: events in, records made durable, commands out, in that order always."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ensemble.engine import Command, Engine, Status
from ensemble.functions import FunctionWorkers
from ensemble.journal import JournalWriter, write_snapshot
from ensemble.model.decisions import Call, Drain, Held, Record
from ensemble.model.errors import Fenced, JournalError, JournalFull
from ensemble.model.events import Event, Fault, FunctionReturned, Requested, RunResumed, TimerFired
from ensemble.model.failpoints import failpoint
from ensemble.runtime.clock import RunClock

if TYPE_CHECKING:
    from ensemble.members.contract import CloseMode
    from ensemble.runtime.link import Link
from ensemble.runtime.pace import Pace

Observer = Callable[[Record], None]
"""Called in the event loop with each durable record; it should be quick. One that raises is not called again."""

Promise = asyncio.Future[Record | bool]

BATCH: Final = 2000
"""Events decided on in one go; between two, everybody else has a turn."""

AHEAD: Final = 20_000
"""Records decided on and not yet durable, at most: a slow disk slows the members, it does not fill the memory."""

COMMIT_SECONDS: Final = 0.008
"""Between two syncs, at least: commands follow that much later while events pour in, at once while few do."""

COMMIT_SHARE: Final = 4
"""The pause after a sync is at least this many times what it took, for the disk serves the jobs as well."""

COMMIT_MOST: Final = 0.1
"""Seconds: but no longer than this."""

SNAPSHOT_RECORDS: Final = 100_000
"""Records between snapshots."""

LIMIT_SECONDS: Final = 60
"""When a limit that cancels was reached and no member with jobs has answered for so long, the run is left."""

LONGEST_SLEEP: Final = 60.0
"""Seconds after which timers are looked at again whatever they said: a machine may have slept meanwhile."""

EXIT_CODES: Final = {
    "success": 0,
    "stopped": 0,
    "terminated": 0,
    "failed": 1,
    "limit": 3,
    "drained": 130,
    "cancelled": 130,
}


@dataclass(slots=True)
class RunResult:
    """How a run ended.

    `outcome` is success, stopped, terminated, failed, limit, cancelled, or, where `resume` continues it: drained,
    detached, unavailable (a member cannot be used here), fenced (another process took it over), storage.
    """

    run: str
    run_dir: str
    outcome: str
    reason: str
    exit_code: int
    status: Status
    warnings: list[str] = field(default_factory=list)


class Leaving(NamedTuple):
    """Why the loop is left although the run is not over."""

    outcome: str
    reason: str
    exit_code: int


class RunLoop:
    """Drives one engine until its run ends.

    Two tasks: one decides on what comes in, in the order in which it came; the other makes what was decided durable,
    in groups, and only then lets it have consequences. So the disk and the engine work at the same time.
    """

    def __init__(
        self,
        engine: Engine,
        journal: JournalWriter,
        run_dir: str,
        functions: FunctionWorkers | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.engine = engine
        self.journal = journal
        self.run_dir = run_dir
        self.functions = functions
        self.observers = list(observers)
        self.links: dict[str, Link] = {}
        self.warnings: list[str] = []
        self.clock = RunClock(engine.view.now)
        self.leaving: Leaving | None = None
        self.hurried = asyncio.Event()
        """Set when nobody must be waited for any more."""
        self.pace: Pace | None = None
        """How fast jobs may be handed over; None: as fast as members take them."""
        self.synced: Callable[[float], None] = _no_observer
        """Called with the seconds that each sync of the journal took."""
        self._inbox: deque[tuple[Sequence[Event], Promise | None, Promise | None]] = deque()
        """(events, kept when decided, kept when durable)"""
        self._came = asyncio.Event()
        self._records: list[tuple[Record, list[Command]]] = []
        """Decided on and not yet durable, each with its commands."""
        self._waiting: list[tuple[Promise, Record | bool]] = []
        """What is kept with the next commit, and the value it then has."""
        self._decided = asyncio.Event()
        self._durable = asyncio.Event()
        self._hurried = asyncio.Event()
        """Set when somebody waits for a record: the next call of a function, or whoever made a request."""
        self._finishing = False
        self._over = False
        self._heartbeat = engine.spec.logging.heartbeat
        self._beat_at = self.clock.now() + self._heartbeat
        self._snapshot_at = engine.seq
        self._snapshot: tuple[int, msgspec.Raw] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._limited: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "journal")
        self._snapshots = ThreadPoolExecutor(1, "snapshots")

    # ---- what others call --------------------------------------------------------------------------

    def post(self, *events: Event) -> None:
        """Take in events."""
        self._inbox.append((events, None, None))
        self._came.set()

    def enter(self, events: Sequence[Event]) -> Promise:
        """Take in events. What is returned becomes true when they are durable, false when the run is left before.

        What is true is the record of the last of them, where there is any.
        """
        promise: Promise = asyncio.get_running_loop().create_future()
        if self._over:
            promise.set_result(False)
        else:
            self._inbox.append((events, None, promise))
            self._came.set()
        return promise

    async def settled(self) -> None:
        """Wait until all that has come in up to now has been decided on."""
        promise: Promise = asyncio.get_running_loop().create_future()
        self._inbox.append(((), promise, None))
        self._came.set()
        await promise

    def leave(self, outcome: str, reason: str, exit_code: int) -> None:
        """Stop and leave everything running, to be resumed."""
        self.leaving = self.leaving or Leaving(outcome, reason, exit_code)
        self._came.set()

    def detach(self, exit_code: int = 0) -> None:
        """Leave because somebody asked for it."""
        self.leave("detached", f"on request; `ensemble resume {self.run_dir}` goes on with it", exit_code)

    def call(self, command: Call) -> None:
        """Start a custom function; its answer comes back as an event."""
        task = asyncio.create_task(self._call(command), name=f"function {command.function}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    # ---- the loop ----------------------------------------------------------------------------------

    async def drive(self, first: Event, *before: Event) -> RunResult:
        """Run to the end. `first` is `RunStarted` or `RunResumed`; requests may come `before` it.

        The links must be there, not yet opened.
        """
        self.post(*before, first)
        for link in self.links.values():
            link.start(resumed=isinstance(first, RunResumed))
        try:
            outcome, reason, code = await self._until_over()
        except JournalFull as error:
            outcome, reason, code = "storage", f"{error}. Make room, then `ensemble resume {self.run_dir}`", 1
            self._last_words("disk-full", str(error))
        except Fenced as error:
            outcome, reason, code = "fenced", str(error), 1
        except JournalError as error:
            outcome, reason, code = "storage", f"{error}. `ensemble resume {self.run_dir}` goes on with it", 1
        finally:
            # whatever happened, even a fault of ours: jobs go on and can be found again
            await self._close()
        return RunResult(self.engine.view.run, self.run_dir, outcome, reason, code, self.engine.status(), self.warnings)

    async def _until_over(self) -> Leaving:
        deciding = asyncio.create_task(self._decide_all(), name="decide")
        committing = asyncio.create_task(self._commit_all(), name="commit")
        try:
            await asyncio.wait((deciding, committing), return_when=asyncio.FIRST_COMPLETED)
            if not committing.done():
                self._finishing = True
                self._decided.set()
            await committing
            await deciding
        finally:
            for task in (deciding, committing):
                task.cancel()
            await asyncio.gather(deciding, committing, return_exceptions=True)
        ended = self.engine.ended
        if ended is not None:
            return Leaving(ended.outcome, ended.reason, EXIT_CODES.get(ended.outcome, 1))
        assert self.leaving is not None
        return self.leaving

    async def _decide_all(self) -> None:
        while self.engine.ended is None and self.leaving is None:
            await self._something()
            self._decide_some()
            self._decided.set()
            while len(self._records) > AHEAD:
                self._durable.clear()
                await self._durable.wait()
            await asyncio.sleep(0)

    def _decide_some(self) -> None:
        """Decide on what has come, in its order; what time asks for comes last."""
        left = BATCH
        while self._inbox and left > 0 and self.engine.ended is None:
            events, decided, durable = self._inbox.popleft()
            record: Record | bool = True
            for event in events:
                record = self._decide(event)
            left -= len(events)
            if decided is not None:
                _keep(decided, True)
            if durable is not None:
                self._waiting.append((durable, record))
        now = self.clock.now()
        wakeup = self.engine.wakeup()
        beat = bool(self._heartbeat) and now >= self._beat_at
        if beat:
            self._beat_at = now + self._heartbeat
            beat = self.engine.waiting
        if self.engine.ended is None and (beat or (wakeup is not None and wakeup <= now)):
            self._decide(TimerFired(beat))
        if self.engine.at_rest and not self._inbox:
            self.leave("drained", self.engine.status(points=False).reason, EXIT_CODES["drained"])

    def _decide(self, event: Event) -> Record:
        record = self.engine.handle(event, self.clock.now())
        self.journal.append(record)
        self._records.append((record, self.engine.commands(record)))
        if type(event) is FunctionReturned or type(event) is Requested:
            self._hurried.set()
        return record

    async def _something(self) -> None:
        """Wait until something came in or time asks for something."""
        self._came.clear()
        if self._inbox or self.leaving is not None:
            return
        now = self.clock.now()
        times = [LONGEST_SLEEP]
        wakeup = self.engine.wakeup()
        if wakeup is not None:
            times.append(wakeup - now)
        if self._heartbeat:
            times.append(self._beat_at - now)
        patience = min(times)
        if patience <= 0:
            return
        handle = asyncio.get_running_loop().call_later(patience, self._came.set)
        try:
            await self._came.wait()
        finally:
            handle.cancel()

    async def _commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        soon = due = 0.0
        while True:
            await self._decided.wait()
            early = due - loop.time()
            if early > 0 and not self._finishing:
                # under load a moment makes groups of what would be many syncs
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(early):
                        await self._hurried.wait()
                await asyncio.sleep(max(0.0, soon - loop.time()))
            self._decided.clear()
            self._hurried.clear()
            # before the await: what comes in meanwhile belongs to the next group
            finishing = self._finishing
            records, self._records = self._records, []
            waiting, self._waiting = self._waiting, []
            self._take_snapshot()
            began = loop.time()
            try:
                if records:
                    self.synced(await loop.run_in_executor(self._thread, self._sync))
            except BaseException:
                self._waiting[:0] = waiting
                raise
            ended = loop.time()
            # a chain of calls has half of the disk at most
            soon = ended + min(ended - began, COMMIT_MOST)
            due = ended + min(max(COMMIT_SECONDS, COMMIT_SHARE * (ended - began)), COMMIT_MOST)
            self._durable.set()
            for record, commands in records:
                for command in commands:
                    self._send(command)
                self._see_limit(record)
            for promise, value in waiting:
                _keep(promise, value)
            for record, _ in records:
                self._notify(record)
            self._write_snapshot()
            if finishing:
                return

    def _sync(self) -> float:
        """Make a group durable; the seconds that it took, on the thread that did it."""
        began = perf_counter()
        self.journal.sync()
        return perf_counter() - began

    def _send(self, command: Command) -> None:
        """Hand a command of a durable record to whoever carries it out."""
        failpoint("runtime.before-send")
        if isinstance(command, Call):
            self.call(command)
        elif command.member in self.links:
            self.links[command.member].send(command)

    def _see_limit(self, record: Record) -> None:
        """A limit that cancels what runs ends the run also when a member does not answer."""
        effects = [effect for step in record.steps if not isinstance(step, Held) for effect in step.effects]
        reached = any(isinstance(effect, Drain) and effect.limit for effect in effects)
        if reached and self.engine.limits.on_limit == "cancel" and not self._limited:
            self._limited = asyncio.create_task(self._end_at_limit(), name="limit")

    async def _end_at_limit(self) -> None:
        silent = 0
        while silent < LIMIT_SECONDS:
            await asyncio.sleep(1.0)
            owing = [link for link in self.links.values() if self.engine.view.open_refs(link.name)]
            silent = silent + 1 if owing and not any(link.answering for link in owing) else 0
        names = ", ".join(link.name for link in owing)
        self.leave(
            "limit",
            f"{names} did not answer when a limit was reached; `ensemble resume {self.run_dir}` sees how it is",
            3,
        )
        self.hurried.set()

    def _notify(self, record: Record) -> None:
        for observer in tuple(self.observers):
            try:
                observer(record)
            except Exception as error:
                # who watches may fail; the run does not depend on it
                self.observers.remove(observer)
                self.warnings.append(f"an observer raised {type(error).__name__}: {error}; it is not called any more")

    async def _call(self, command: Call) -> None:
        try:
            if self.functions is None:
                raise LookupError("there are no functions here")
            answer = await self.functions.call(command.id, command.function, command.args)
        except Exception as error:
            # an answer must come, or the rule that called would wait for ever
            answer = FunctionReturned(command.id, error=f"{command.function}: {error}", fault="died")
        self.post(answer)

    # ---- snapshots ---------------------------------------------------------------------------------

    def _take_snapshot(self) -> None:
        """Every so many records, remember the state as of the last of them, to be written once that is durable."""
        seq = self.engine.seq
        if seq - self._snapshot_at >= SNAPSHOT_RECORDS:
            self._snapshot_at = seq
            self._snapshot = (seq, msgspec.Raw(msgspec.json.encode(self.engine.snapshot())))

    def _write_snapshot(self) -> None:
        if self._snapshot is not None:
            seq, data = self._snapshot
            self._snapshot = None
            self._snapshots.submit(self._write_one, seq, data)

    def _write_one(self, seq: int, data: msgspec.Raw) -> None:
        # a snapshot only saves time: a run goes on without
        with contextlib.suppress(OSError):
            write_snapshot(self.run_dir, seq, data)  # type: ignore[arg-type]

    # ---- the end -----------------------------------------------------------------------------------

    def _last_words(self, name: str, text: str) -> None:
        record = Record(self.journal.durable + 1, self.clock.now(), Fault(name, text))
        if not self.journal.write_last_words(record):
            self.warnings.append("the disk is so full that not even this could be written to the journal")

    async def _close(self) -> None:
        """Let go of everything: members first, so that nothing comes in any more."""
        self._over = True
        for promise, _ in self._waiting:
            _keep(promise, False)
        while self._inbox:
            for found in self._inbox.popleft()[1:]:
                if isinstance(found, asyncio.Future):
                    _keep(found, False)
        for task in self._calls:
            task.cancel()
        if self._limited is not None:
            self._limited.cancel()
        mode: CloseMode = "drain" if self.engine.ended is not None else "detach"
        await asyncio.gather(*(link.close(mode) for link in self.links.values()))
        if self.functions is not None:
            await self.functions.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._snapshots, _nothing)
        await loop.run_in_executor(self._thread, _nothing)
        try:
            # what was decided and never made durable was never acted on either: it is left out
            self.journal.close() if self.journal.seq == self.journal.durable else self.journal.abandon()
        except JournalError as error:
            self.warnings.append(str(error))
        self._snapshots.shutdown(wait=False)
        self._thread.shutdown(wait=False)


def _keep(promise: Promise, value: Record | bool) -> None:
    if not promise.done():
        promise.set_result(value)


def _no_observer(seconds: float) -> None:
    """Stands for a callback that nobody has set."""


def _nothing() -> None:
    """For waiting until a thread has done what it was given before."""
