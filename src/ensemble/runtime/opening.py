"""Starting a run and going on with one."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import convert, structs, to_builtins

from ensemble import __version__
from ensemble.algorithms import BUILTIN
from ensemble.engine import Engine
from ensemble.engine.algorithm import Algorithm
from ensemble.functions import FunctionWorkers
from ensemble.journal import JournalWriter, load, read, writer_of
from ensemble.journal.writer import process_start
from ensemble.members.contract import Context, Member
from ensemble.model.decisions import Call, Record
from ensemble.model.errors import InputError, JournalError
from ensemble.model.events import Event, Fault, RunResumed, RunStarted
from ensemble.runtime import index, requests
from ensemble.runtime.link import Link
from ensemble.runtime.session import EXIT_CODES, Observer, RunResult, Session
from ensemble.spec.model import EnsembleSpec, MemberSpec


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is given besides its file. `script` is the Python script that built it, if one did."""

    base: str = "runs"
    run_dir: str = ""
    source: str = ""
    script: str = ""
    script_sha256: str = ""
    detach: bool = False
    signals: bool = True


def algorithms() -> dict[str, Algorithm]:
    """Every algorithm there is: ours and those of other packages (entry points `ensemble.algorithms`)."""
    found: dict[str, Algorithm] = dict(BUILTIN)
    return found


def member_factory(kind: str) -> Callable[[], Member]:
    """Return what makes members of a kind. Raises `InputError` naming the kinds there are."""
    if kind == "local":
        from ensemble.members.local import LocalMember

        return LocalMember
    from importlib.metadata import entry_points

    found = {entry.name: entry for entry in entry_points(group="ensemble.members")}
    if kind not in found:
        raise InputError(f"there is no member of kind {kind!r} here; there is {', '.join(sorted(found))}")
    factory: Callable[[], Member] = found[kind].load()
    return factory


def who() -> str:
    """Who asks, for the journal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


async def run(spec: EnsembleSpec, options: RunOptions = RunOptions(), observers: Sequence[Observer] = ()) -> RunResult:
    """Run an ensemble to its end. Raises `InputError` before anything is spent when it cannot even begin."""
    factories = {name: member_factory(member.kind) for name, member in _members(spec).items()}
    run_dir = index.make_run_dir(spec.name, options.base, options.run_dir)
    name = run_dir.name
    engine = Engine(spec, run=name, algorithms=algorithms())
    try:
        journal = JournalWriter.create(run_dir, name, __version__)
    except JournalError as error:
        raise InputError(str(error)) from error
    index.remember(run_dir)
    first = RunStarted(
        name,
        to_builtins(spec),
        __version__,
        spec.seed,
        str(run_dir),
        who(),
        options.source,
        options.script,
        options.script_sha256,
        socket.gethostname(),
    )
    return await _drive(spec, engine, journal, run_dir, factories, first, options, observers)


async def resume(
    run_dir: Path, options: RunOptions = RunOptions(), observers: Sequence[Observer] = (), *, force: bool = False
) -> RunResult:
    """Go on with a run after whatever ended its process; a run that is over just says how it ended.

    Raises `InputError` when another process is at it (`force` takes it over all the same).
    """
    writer = writer_of(run_dir)
    alive = writer.host == socket.gethostname() and writer.pid_started == process_start(writer.pid)
    engine, started, warnings = fold(run_dir)
    if engine.ended is not None:
        end = engine.ended
        code = EXIT_CODES.get(end.outcome, 1)
        return RunResult(writer.run, str(run_dir), end.outcome, end.reason, code, engine.status(), warnings)
    if alive and writer.pid != os.getpid() and not force:
        raise InputError(
            f"run {writer.run} is being run by process {writer.pid} on this machine; "
            "`--force` takes it over (its jobs go on)"
        )
    if options.script_sha256 and started.script_sha256 and options.script_sha256 != started.script_sha256 and not force:
        raise InputError(
            f"{started.script} is not what it was when {writer.run} was started; `--force` uses it as it is"
        )
    factories = {name: member_factory(member.kind) for name, member in _members(engine.spec).items()}
    journal = JournalWriter.take_over(run_dir, __version__)
    if journal.seq != engine.state.seq:
        raise InputError(f"run {writer.run} went on while it was read: another process is at it")
    first = RunResumed(journal.epoch, __version__, who(), socket.gethostname())
    result = await _drive(engine.spec, engine, journal, run_dir, factories, first, options, observers)
    result.warnings[:0] = warnings
    return result


def fold(run_dir: Path) -> tuple[Engine, RunStarted, list[str]]:
    """The engine as the journal leaves it, how the run was started, and what was odd about the journal.

    Raises `JournalError` and its kin.
    """
    loaded = load(run_dir)
    first = next(read(run_dir), None)
    if first is None or not isinstance(first.event, RunStarted):
        raise JournalError(f"{run_dir} holds a journal without a beginning: it never started")
    spec = convert(first.event.spec, EnsembleSpec)
    known = algorithms()
    if loaded.snapshot is not None:
        engine = Engine.restore(spec, loaded.snapshot, known)
    else:
        engine = Engine(spec, algorithms=known)
    for record in loaded.records:
        engine.apply(record)
    return engine, first.event, loaded.warnings


def _members(spec: EnsembleSpec) -> Mapping[str, MemberSpec]:
    return spec.members or {"local": MemberSpec()}


async def _drive(
    spec: EnsembleSpec,
    engine: Engine,
    journal: JournalWriter,
    run_dir: Path,
    factories: Mapping[str, Callable[[], Member]],
    first: Event,
    options: RunOptions,
    observers: Sequence[Observer],
) -> RunResult:
    functions = FunctionWorkers(spec, str(run_dir), options.script)
    session = Session(engine, journal, str(run_dir), functions, observers)
    session.warnings += journal.warnings
    wanted = tuple(sorted({rule.trigger[11:] for rule in spec.rules if rule.trigger.startswith("job-native-")}))
    for name, member in _members(spec).items():
        link = Link(session, factories[name](), _context(name, member, session, spec, wanted))
        link.context = structs.replace(link.context, sink=link)
        session.links[name] = link
    if isinstance(first, RunResumed):
        for command in engine.open_commands():
            if isinstance(command, Call):
                session.call(command)
    if options.detach:
        session.observers.append(_detach_when_submitted(session))
    with _signals(session) if options.signals else contextlib.nullcontext():
        watcher = requests.watch(session, run_dir)
        try:
            return await session.drive(first)
        finally:
            watcher.cancel()


def _context(name: str, member: MemberSpec, session: Session, spec: EnsembleSpec, wanted: tuple[str, ...]) -> Context:
    return Context(
        run=session.engine.state.run or Path(session.run_dir).name,
        name=name,
        run_dir=session.run_dir,
        epoch=session.journal.epoch,
        sink=session,
        options=dict(member.options),
        nodes=max(1, member.nodes),
        min_nodes=member.min_nodes,
        max_nodes=member.max_nodes,
        cores=member.cores,
        gpus=member.gpus,
        wanted=wanted,
        seed=spec.seed,
    )


def _detach_when_submitted(session: Session) -> Observer:
    def observe(_: Record) -> None:
        state = session.engine.state
        if state.started >= 0 and state.total.submitted and not state.backlog and not state.commands:
            session.detach()

    return observe


class _signals:  # noqa: N801 - used as a function
    """Ctrl-C once drains, twice cancels, three times detaches; SIGTERM cancels; a terminal that goes away is noted."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.count = 0

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
            loop.add_signal_handler(signal.SIGTERM, partial(self.session.request, "cancel", "SIGTERM"))
            loop.add_signal_handler(signal.SIGHUP, self._hangup)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        self.count += 1
        if self.count == 1:
            self.session.request("drain", "SIGINT")
        elif self.count == 2:
            self.session.request("cancel", "SIGINT")
        else:
            self.session.detach()

    def _hangup(self) -> None:
        # nobody reads any more; the run does not depend on it
        self.session.post(Fault("terminal-gone", "SIGHUP"))
        quiet = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(quiet, stream.fileno())


_: Any = None
