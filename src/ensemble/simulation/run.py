"""Runs an ensemble in virtual time: the same engine and the same rules, on simulated members.

Nothing waits and nothing is random but by the seed: the same file and seed give the same records, bit for bit.
"""

from __future__ import annotations

__all__ = ["START", "Simulation", "simulate"]

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Final

from msgspec import structs, to_builtins

from ensemble import __version__
from ensemble.algorithms import BUILTIN
from ensemble.engine import Command, Engine, Submission
from ensemble.engine.algorithm import Algorithm
from ensemble.functions import FunctionWorkers
from ensemble.journal import JournalWriter
from ensemble.model.decisions import Call, Cancel, Record, Resize
from ensemble.model.errors import InputError
from ensemble.model.events import (
    Event,
    FunctionReturned,
    JobEvent,
    MemberEvent,
    ResizeDone,
    RunStarted,
    SubmitAnswered,
    TimerFired,
)
from ensemble.model.wording import counted
from ensemble.simulation.machines import Machines
from ensemble.simulation.prepare import Prepared, prepare
from ensemble.simulation.queue import SimulatedQueue
from ensemble.simulation.recording import Recording
from ensemble.simulation.result import Figures, SimulationResult, estimates, figures_of
from ensemble.spec.model import EnsembleSpec

START: Final = 1.0
"""Virtual time at which a simulation begins (0 would read as "never")."""

TEN_YEARS: Final = 3.2e8
"""Virtual seconds after which an ensemble counts as endless."""

_BARREN: Final = 10_000
"""Wake-ups in a row that came to nothing before a simulation counts as stuck."""

_AT_ONCE: Final = 10_000_000
"""Events at one instant before it counts as endless."""

CallFunction = Callable[[int, str, dict[str, Any]], FunctionReturned]
Observer = Callable[[Record], None]


def simulate(
    spec: EnsembleSpec,
    *,
    seed: int | None = None,
    repeat: int = 1,
    recorded: Recording | None = None,
    functions: bool = True,
    call: CallFunction | None = None,
    script: str = "",
    until: float = TEN_YEARS,
    record: str | Path | None = None,
    observers: Sequence[Observer] = (),
    algorithms: Mapping[str, Algorithm] = BUILTIN,
    find: Callable[[str], Path] = Path,
) -> SimulationResult:
    """Simulate an ensemble `repeat` times; repetition r uses `seed` + r (left out: the file's).

    `recorded`: draw durations, figures and failures from a recorded run, for the points it has. `functions`: call
    custom functions, in worker processes as in a run (`call`: in this way instead; `script`: where the Python script
    lies that has them); switched off, each call is answered with an error. `until`: virtual seconds after which an
    ensemble counts as endless. `record`: a new directory that gets the journal of the first repetition, which
    `explain`, `events` and `results` read like that of a run. `observers` see every record. `find`: the directory
    of a recorded run that the file names.

    Raises `InputError` when the file cannot be simulated.
    """
    if repeat < 1:
        raise InputError(f"a simulation is repeated at least once, not {repeat} times")
    began = time.perf_counter()
    first = spec.seed if seed is None else seed
    workers = None
    if call is None:
        if functions:
            workers = FunctionWorkers(spec, script=script)
            call = workers.call_sync
        else:
            call = _refuse
    runs = []
    assumed: dict[str, None] = {}
    try:
        prepared = prepare(spec, recorded, find)
        for turn in range(repeat):
            simulation = Simulation(
                prepared._replace(spec=structs.replace(prepared.spec, seed=first + turn)),
                call,
                until=until,
                record=record if not turn else None,
                observers=observers,
                algorithms=algorithms,
            )
            runs.append(simulation.run())
            assumed.update(simulation.machines.assumed)
    finally:
        if workers is not None:
            workers.close_sync()
    return SimulationResult(tuple(runs), estimates(runs), tuple(assumed), time.perf_counter() - began)


def _refuse(command: int, function: str, _args: dict[str, Any]) -> FunctionReturned:
    return FunctionReturned(command, error=f"{function} is not called: functions are switched off", fault="off")


class Simulation:
    """One run in virtual time."""

    def __init__(
        self,
        prepared: Prepared,
        call: CallFunction,
        *,
        until: float = TEN_YEARS,
        record: str | Path | None = None,
        observers: Sequence[Observer] = (),
        algorithms: Mapping[str, Algorithm] = BUILTIN,
    ) -> None:
        spec = prepared.spec
        name = Path(record).name if record is not None else spec.name
        self.spec = spec
        self.engine = Engine(spec, run=name, algorithms=algorithms)
        self.run_name = name
        self.now = START
        self.events = 0
        self._until = START + until
        self._call = call
        self._inbox: deque[Event] = deque()
        self.machines = Machines(prepared, self._inbox.append)
        self._resizes: dict[str, list[tuple[int, int]]] = {}
        self._barren = 0
        self._beat_at = START
        self._observers = list(observers)
        self._record = record
        self._journal: JournalWriter | None = None
        if record is not None:
            self._journal = JournalWriter.create(record, name, __version__)
            self._observers.append(self._journal.append)

    def run(self) -> Figures:
        """Run to the end, and say what came of it. Raises `InputError`."""
        try:
            outcome, reason = self._drive()
        finally:
            if self._journal is not None:
                self._journal.close()
        up = busy = held = 0.0
        for queue in self.machines.queues.values():
            queue.advance(self.now)
            queue.settle()
            up += queue.up_core_seconds
            busy += queue.busy_core_seconds
            held += queue.held_node_seconds
        return figures_of(
            self.engine,
            events=self.events,
            outcome=outcome,
            reason=reason,
            utilisation=busy / up if up else 0.0,
            held_node_hours=held / 3600.0,
        )

    # ---- the loop ----------------------------------------------------------------------------------

    def _drive(self) -> tuple[str, str]:
        engine, inbox = self.engine, self._inbox
        queues = list(self.machines.queues.values())
        self._begin()
        heartbeat = self.spec.logging.heartbeat
        while True:
            if inbox and not self._take_in():
                return "endless", f"more than {_AT_ONCE:,} events followed at one instant"
            ended = engine.ended
            if ended is not None:
                return ended.outcome, ended.reason
            soonest, busy = inf, None
            for queue in queues:
                at = queue.next_time()
                if at < soonest:
                    soonest, busy = at, queue
            wakeup = engine.wakeup()
            beat = self._next_beat(heartbeat) if heartbeat else inf
            timer = beat if wakeup is None else min(wakeup, beat)
            at = min(timer, soonest)
            if at == inf or self._barren > _BARREN:
                return "stuck", self._why_stuck()
            if at > self._until:
                self.now = self._until
                return "endless", f"it is not over after {self._until - START:g} s of virtual time"
            if at > self.now:
                self.now = at
            if timer < soonest:
                beats = beat <= at
                if beats:
                    self._beat_at = at
                self._barren += 1
                inbox.append(TimerFired(beats and engine.waiting))
            elif busy is not None:
                busy.advance(at)

    def _take_in(self) -> bool:
        """Hand what has happened to the engine, and its commands to those who carry them out, until all is quiet."""
        inbox, handle, observers = self._inbox, self.engine.handle, self._observers
        now, taken = self.now, 0
        while inbox:
            event = inbox.popleft()
            record = handle(event, now)
            taken += 1
            if type(event) is JobEvent:
                self._barren = 0
            elif self._resizes and type(event) is MemberEvent:
                self._resized(event.member)
            if record.steps:
                self._carry_out(self.engine.commands(record))
            for observer in observers:
                observer(record)
            if taken > _AT_ONCE:
                return False
        self.events += taken
        return True

    def _begin(self) -> None:
        run_dir = str(self._record or "")
        data = to_builtins(self.spec)
        self._inbox.append(RunStarted(self.run_name, data, __version__, self.spec.seed, run_dir, "simulate"))
        self._inbox.extend(map(self.machines.opened, self.machines.queues))

    def _next_beat(self, heartbeat: float) -> float:
        """When waiting is looked at again; never, while nobody waits."""
        if not self.engine.waiting:
            return inf
        return max(self._beat_at + heartbeat, self.now)

    # ---- commands ----------------------------------------------------------------------------------

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Submission):
                self._barren = 0
                self._submit(command)
            elif isinstance(command, Cancel):
                self._queue(command.member).cancel(command.refs)
            elif isinstance(command, Resize):
                self._resize(command)
            elif isinstance(command, Call):
                self._inbox.append(self._call(command.id, command.function, command.args))
            else:
                self._queue(command.member).stop(command.mode)

    def _queue(self, member: str) -> SimulatedQueue:
        queue = self.machines.queues[member]
        if queue.now < self.now:
            queue.advance(self.now)
        return queue

    def _submit(self, command: Submission) -> None:
        queue = self._queue(command.member)
        refused: list[tuple[str, int, str, bool]] = []
        for batch, shape in self.machines.shapes(command):
            never = queue.never(shape)
            if never:
                refused += [(key, attempt, never, False) for key, attempt in batch.refs()]
            else:
                queue.submit(shape, batch.group, batch.first, batch.count, batch.attempt)
        self._inbox.append(SubmitAnswered(command.id, command.member, tuple(refused)))

    def _resize(self, command: Resize) -> None:
        self._barren = 0
        self._resizes.setdefault(command.member, []).append((command.id, command.nodes))
        self._queue(command.member).resize(command.nodes)
        self._resized(command.member)

    def _resized(self, member: str) -> None:
        """Answer the resizes that are done, and those that a later one has overtaken."""
        awaited = self._resizes.get(member)
        if not awaited:
            return
        queue = self.machines.queues[member]
        left = []
        for place, (command, nodes) in enumerate(awaited):
            if place < len(awaited) - 1:
                self._inbox.append(ResizeDone(command, member, queue.pool.nodes_up, "a later resize overtook it"))
            elif queue.pool.nodes_up == nodes:
                self._inbox.append(ResizeDone(command, member, nodes))
            else:
                left.append((command, nodes))
        if left:
            self._resizes[member] = left
        else:
            del self._resizes[member]

    # ---- the end -----------------------------------------------------------------------------------

    def _why_stuck(self) -> str:
        """What is open although nothing can happen any more."""
        found = []
        for name, queue in self.machines.queues.items():
            head = next((job for job in queue.waiting if not job.state), None)
            if head is not None:
                why = queue.pool.never(head.shape.need, queue.pool.staying) or "it does not fit beside what runs"
                found.append(f"{head.key} waits on member {name}: {why}")
        for held in self.engine.view.held_back():
            size = f"{counted(held.nodes, 'node')}, " if held.nodes else ""
            size += counted(held.cores, "core")
            found.append(f"no member takes {counted(held.jobs, 'job')} of {held.group} ({size} each)")
        found += [
            f"{type(command).__name__.lower()} {command.id} is not answered"
            for command in self.engine.open_commands()
            if isinstance(command, Call | Resize)
        ]
        return "nothing more can happen: " + ("; ".join(found) if found else "rules wait for what will not come")
