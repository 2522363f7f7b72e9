"""Starting a run and going on with one."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from ensemble import __version__
from ensemble.engine import Engine
from ensemble.functions import FunctionWorkers, check_functions
from ensemble.journal import JournalWriter
from ensemble.members.contract import Context, Member, Sink
from ensemble.members.kinds import batch_queue_here, member_factory, member_kinds, traits_of
from ensemble.model.decisions import Call, Record
from ensemble.model.errors import InputError, JournalError
from ensemble.model.events import Event, Requested, RunResumed, RunStarted
from ensemble.runtime import index
from ensemble.runtime.alive import Presence, process_at, refuse_if_alive
from ensemble.runtime.folding import Folded, algorithms, catch_up, fold, stillborn
from ensemble.runtime.link import Link
from ensemble.runtime.loop import EXIT_CODES, Observer, RunLoop, RunResult
from ensemble.runtime.pace import Pace
from ensemble.runtime.requests import Requests
from ensemble.runtime.signals import Signals
from ensemble.spec.model import EnsembleSpec, MemberSpec

__all__ = [
    "RunOptions",
    "algorithms",
    "fold",
    "member_factory",
    "member_kinds",
    "on_member",
    "refuse_functions",
    "resume",
    "run",
    "who",
]

NATIVE: Final = "job-native-"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is given besides its file.

    `script` is the Python script that built it, if one did. `detach`: leave once everything is submitted. `signals`:
    listen to Ctrl-C and its like. `opened` is told of the loop before it begins, so that others can steer it. `by`: who
    asked for it, for the journal; else the user whose process this is. `pace`: how fast jobs may be submitted.
    `requests` are decided on before anything else. `held`: the run does not end by itself until it is released. `wake`:
    a run that was paused goes on when it is resumed.
    """

    base: str = "runs"
    run_dir: str = ""
    source: str = ""
    script: str = ""
    detach: bool = False
    signals: bool = True
    opened: Callable[[RunLoop], None] | None = None
    by: str = ""
    pace: Pace | None = None
    requests: tuple[Requested, ...] = ()
    held: bool = False
    wake: bool = True


async def run(spec: EnsembleSpec, options: RunOptions = RunOptions(), observers: Sequence[Observer] = ()) -> RunResult:
    """Run an ensemble to its end. Raises `InputError` before anything is spent when it cannot even begin."""
    factories = _factories(spec)
    # the worker that finds out whether the functions are there is the one that will be called
    functions = FunctionWorkers(spec, "", options.script)
    try:
        refuse_functions(spec, functions.check)
        if options.run_dir:
            _clear_stillborn(Path(options.run_dir))
        run_dir = index.make_run_dir(spec.name, options.base, options.run_dir)
        if not _is_text(str(run_dir)):
            raise InputError(f"{str(run_dir)!r}: the path of a run must be UTF-8, for it stands in the journal")
        name = run_dir.name
        engine = Engine(spec, run=name, algorithms=algorithms())
        try:
            journal = JournalWriter.create(run_dir, name, __version__)
        except JournalError as error:
            raise InputError(f"{error}; a run needs a directory it can write to") from error
        _describe(run_dir, name, options)
        index.remember(run_dir)
        first = RunStarted(
            name,
            msgspec.to_builtins(spec),
            __version__,
            spec.seed,
            str(run_dir),
            options.by or who(),
            _text(options.source),
            _text(options.script),
            _digest(options.script),
            _text(socket.gethostname()),
            options.held,
        )
        return await _drive(engine, journal, run_dir, factories, first, options, observers, functions)
    finally:
        functions.close_sync()


async def resume(
    run_dir: Path, options: RunOptions = RunOptions(), observers: Sequence[Observer] = (), *, force: bool = False
) -> RunResult:
    """Go on with a run after whatever ended its process; a run that is over just says how it ended.

    Custom functions that had not answered are called again: they are called at least once, not exactly once. Raises
    `InputError` when another process is at it (`force` takes the run away from it; its jobs go on), and when the script
    that holds its functions is not what it was (`force` uses it as it is).
    """
    run_dir = Path(run_dir).absolute()
    folded = fold(run_dir)
    engine, started, warnings = folded
    if engine.ended is not None or (engine.at_rest and not options.wake):
        return _over(run_dir, folded)
    if not force:
        refuse_if_alive(run_dir, "`--force` takes the run over from there (its jobs continue)")
    script = _script_of(engine.spec, started, force, warnings)
    factories = _factories(engine.spec)
    try:
        journal = JournalWriter.take_over(run_dir, __version__, engine.seq)
        if journal.seq < engine.seq:
            # what was read last had not reached the disk of a host that went down
            engine = fold(run_dir, snapshots=False).engine
        catch_up(engine, run_dir)
    except OSError as error:
        raise InputError(f"{run_dir}: {error.strerror}") from error
    except JournalError as error:
        if isinstance(error.__cause__, OSError):
            raise InputError(f"{error}; a run needs a directory it can write to") from error
        raise
    if engine.ended is not None:
        journal.close()
        return _over(run_dir, Folded(engine, started, warnings))
    host = _text(socket.gethostname())
    first = RunResumed(journal.epoch, __version__, options.by or who(), host, options.held, not options.wake)
    functions = FunctionWorkers(engine.spec, str(run_dir), script)
    functions.check(_function_names(engine.spec))
    result = await _drive(engine, journal, run_dir, factories, first, options, observers, functions)
    result.warnings[:0] = warnings
    return result


def _over(run_dir: Path, folded: Folded) -> RunResult:
    engine = folded.engine
    status = engine.status()
    code = EXIT_CODES.get(status.outcome, 1)
    return RunResult(status.run, str(run_dir), status.outcome, status.reason, code, status, folded.warnings)


async def _drive(
    engine: Engine,
    journal: JournalWriter,
    run_dir: Path,
    factories: Mapping[str, Callable[[], Member]],
    first: Event,
    options: RunOptions,
    observers: Sequence[Observer],
    functions: FunctionWorkers,
) -> RunResult:
    spec = engine.spec
    functions.log_to(str(run_dir))
    engine.takes = functions.takes
    loop = RunLoop(engine, journal, str(run_dir), functions, observers)
    loop.warnings += journal.warnings
    for name, member in members_of(spec).items():
        if engine.view.member(name).state != "gone":
            loop.links[name] = Link(loop, factories[name](), _context(name, member, engine, run_dir, journal.epoch))
    if isinstance(first, RunResumed):
        for command in engine.open_commands():
            if isinstance(command, Call):
                loop.call(command)
    loop.pace = options.pace
    if options.detach:
        loop.observers.append(_Detacher(loop))
    if options.opened is not None:
        options.opened(loop)
    presence, requests = Presence(run_dir, journal.epoch), Requests(loop, run_dir, journal.epoch)
    try:
        with Signals(loop) if options.signals else contextlib.nullcontext():
            return await loop.drive(first, *options.requests)
    finally:
        await requests.close()
        presence.end(loop.leaving.outcome if loop.leaving is not None else "")


class _Detacher:
    """Leaves once every job is with a member and every command is answered."""

    def __init__(self, loop: RunLoop) -> None:
        self._loop = loop

    def __call__(self, _: Record) -> None:
        """Called with each durable record."""
        if self._loop.engine.view.handed_over:
            self._loop.detach()


# ---- members -----------------------------------------------------------------------------------------


def members_of(spec: EnsembleSpec) -> Mapping[str, MemberSpec]:
    """The members of a file; without any, this machine."""
    return spec.members or {"local": MemberSpec()}


def on_member(spec: EnsembleSpec, kind: str = "", nodes: int = 0, image: str = "") -> EnsembleSpec:
    """The same ensemble on one member of another kind (and options of its own), with so many nodes each, or with a
    container image for its jobs.

    Raises `InputError` for an image where no member runs jobs in containers.
    """
    members = members_of(spec)
    if kind:
        first = next(iter(members.values()))
        options = first.options if first.kind == kind else {}
        members = {kind: msgspec.structs.replace(first, kind=kind, options=options)}
        jobs = tuple(msgspec.structs.replace(group, member="") for group in spec.jobs)
        spec = msgspec.structs.replace(spec, jobs=jobs)
    if nodes:
        members = {name: msgspec.structs.replace(one, nodes=nodes) for name, one in members.items()}
    if image:
        members = dict(members)
        for name, one in members.items():
            traits = traits_of(one.kind)
            if traits is not None and "image" in (traits.group_options or ()):
                members[name] = msgspec.structs.replace(one, options={**one.options, "image": image})
        if not any(one.options.get("image") == image for one in members.values()):
            raise InputError("an image is for members of Kubernetes (`--member job`), and there is none here")
    return msgspec.structs.replace(spec, members=dict(members))


def kind_here(spec: EnsembleSpec) -> str:
    """Where an ensemble runs that names no member: `flux` inside a Flux instance, else this machine (empty).

    Empty as well where the file names its members. Raises `InputError` on a login node, which has to be told.
    """
    from ensemble.members.flux import instance

    if spec.members:
        return ""
    if instance():
        return "flux"
    if queue := batch_queue_here():
        raise InputError(
            "this is a login node of a cluster and nothing says where to run: "
            f"say `--member {queue}` for the cluster or `--member local` for this machine"
        )
    return ""


def _factories(spec: EnsembleSpec) -> dict[str, Callable[[], Member]]:
    return {name: member_factory(member.kind) for name, member in members_of(spec).items()}


def _context(name: str, member: MemberSpec, engine: Engine, run_dir: Path, epoch: int) -> Context:
    natives = [rule.trigger for rule in engine.spec.rules if rule.trigger.startswith(NATIVE)]
    return Context(
        run=engine.view.run or run_dir.name,
        name=name,
        run_dir=str(run_dir),
        epoch=epoch,
        sink=_NoSink(),
        options=dict(member.options),
        nodes=max(1, member.nodes),
        min_nodes=member.min_nodes,
        max_nodes=member.max_nodes,
        cores=member.cores,
        gpus=member.gpus,
        wanted=tuple(sorted({trigger.removeprefix(NATIVE) for trigger in natives})),
        seed=engine.spec.seed,
    )


class _NoSink(Sink):
    """Stands for the sink that the link makes for each connection."""

    async def put(self, events: Sequence[Any]) -> int:
        """Take nothing."""
        return 0


# ---- scripts -----------------------------------------------------------------------------------------


def _script_of(spec: EnsembleSpec, started: RunStarted, force: bool, warnings: list[str]) -> str:
    """The script that holds the run's functions. Raises `InputError` when it is not what it was."""
    script = started.script
    if not script or not any(_actions(msgspec.to_builtins(spec.rules), "custom")):
        return script
    digest = _digest(script)
    if digest == started.script_sha256:
        return script
    state = "has changed" if digest else "cannot be read"
    if not force:
        raise InputError(
            f"{script} {state} since {started.run} was started, and its functions are rules of the run; "
            "`--force` uses it as it is"
        )
    warnings.append(f"{script} {state} since the run was started")
    return script


def refuse_functions(spec: EnsembleSpec, check: Callable[[Sequence[str]], dict[str, str]] | None = None) -> None:
    """Raises `InputError` when a custom function that a rule names does not exist or does not load.

    `check` finds out; left out, in a worker that ends with this call.
    """
    names = _function_names(spec)
    problems = (check(names) if check is not None else check_functions(spec, names)) if names else {}
    if problems:
        raise InputError("\n".join(f"custom function {name!r}: {problem}" for name, problem in problems.items()))


def _function_names(spec: EnsembleSpec) -> list[str]:
    """The functions that rules name."""
    return list(dict.fromkeys(action["label"] for action in _actions(msgspec.to_builtins(spec.rules), "custom")))


def _actions(plain: Any, name: str) -> Iterator[dict[str, Any]]:
    """All actions of that name in rules as plain data, those of rules to be added included."""
    if isinstance(plain, dict):
        action = plain.get("action")
        if isinstance(action, dict) and action.get("name") == name:
            yield action
        for inner in plain.values():
            yield from _actions(inner, name)
    elif isinstance(plain, list | tuple):
        for inner in plain:
            yield from _actions(inner, name)


def _digest(script: str) -> str:
    if not script:
        return ""
    try:
        return sha256(Path(script).read_bytes()).hexdigest()
    except OSError:
        return ""


# ---- small things ------------------------------------------------------------------------------------


def who() -> str:
    """Who asks, for the journal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _text(text: str) -> str:
    """Text fit for the journal, whatever bytes a path was made of."""
    return text.encode(errors="replace").decode()


def _is_text(text: str) -> bool:
    return text == _text(text)


def _clear_stillborn(path: Path) -> None:
    """Remove the journal of a run that was killed before its first record was durable: it never did anything."""
    if not (path / "journal").is_dir():
        return
    with contextlib.suppress(OSError, JournalError):
        if process_at(path) is not None:
            return
    if stillborn(path):
        with contextlib.suppress(OSError):
            shutil.rmtree(path / "journal")


def _describe(run_dir: Path, name: str, options: RunOptions) -> None:
    """Say in a small file what this directory is. For people only: nothing reads it."""
    about = {
        "run": name,
        "file": _text(os.path.abspath(options.source)) if options.source else "",
        "script": _text(options.script),
        "version": __version__,
        "host": _text(socket.gethostname()),
        "journal": "journal/ is the truth about this run; `ensemble status`, `results` and `explain` read it",
    }
    with contextlib.suppress(OSError):
        (run_dir / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(about)) + b"\n")
