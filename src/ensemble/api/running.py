"""Runs: going on in a thread, over, or another process's."""

from __future__ import annotations

__all__ = ["Run", "list_runs", "open_run", "resume", "run_to_end", "start"]

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ensemble.engine import RuleExplanation, Status
from ensemble.journal import Follower, read
from ensemble.model.decisions import End, Record
from ensemble.model.errors import InputError
from ensemble.model.events import Event, Requested
from ensemble.runtime import Observer, RunLoop, RunOptions, RunResult, Verification
from ensemble.spec.model import EnsembleSpec

LOOK_SECONDS = 0.2
"""How often the journal of another process's run is looked at."""


class Run:
    """One run. Everything it answers comes from its journal, so it answers while the run goes on and ever after."""

    def __init__(self, path: Path, going: _Going | None = None, result: RunResult | None = None) -> None:
        """Use `Ensemble.run`, `Ensemble.start`, `resume` or `open_run`."""
        self.path = path
        self._going = going
        self._result = result

    @property
    def name(self) -> str:
        """Its name, such as `melt-3`."""
        return self.path.name

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def outcome(self) -> str:
        """success, stopped, terminated, failed, limit, drained or cancelled; detached, unavailable, fenced or storage
        where `resume` goes on with it; empty while it goes on."""
        if self._finished is not None:
            return self._finished.outcome
        ended = self._ended()
        return ended.outcome if ended is not None else ""

    @property
    def reason(self) -> str:
        """Why it ended so, in words."""
        if self._finished is not None:
            return self._finished.reason
        ended = self._ended()
        return ended.reason if ended is not None else ""

    @property
    def exit_code(self) -> int | None:
        """What `ensemble run` would exit with; None while it goes on."""
        if self._finished is not None:
            return self._finished.exit_code
        from ensemble.runtime.loop import EXIT_CODES

        ended = self._ended()
        return EXIT_CODES.get(ended.outcome, 1) if ended is not None else None

    # ---- what happens ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        """Its events from the first on, until it is over: those of jobs, members, timers, functions, people."""
        for record in self.records():
            yield record.event

    def records(self, after: int = 0) -> Iterator[Record]:
        """Each event with its time, its number and what was decided on it, until the run is over.

        Ctrl-C while waiting does what it does for `ensemble run`: once lets jobs finish, twice cancels them.
        """
        if self._going is not None:
            yield from self._going.records(Follower(self.path, after))
            return
        yield from self._followed(Follower(self.path, after))

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for its end (at most `timeout` seconds: then raises `TimeoutError`) and return it."""
        if self._going is not None:
            self._result = self._going.wait(timeout)
        elif self._result is None:
            self._wait_for_another(timeout)
        return self

    # ---- what came of it ---------------------------------------------------------------------------

    def results(self, by: str = "job") -> list[dict[str, Any]]:
        """Rows as plain data, ready for a data frame: one a job, or one a point with `by="point"`.

        A job's row has `key`, `group`, its parameters, `outcome`, `reason`, `exit_code`, `duration` and `pending` in
        seconds, and its figures; a point's row the counts, the mean and 95 % interval of each quantity, and `derived`.
        """
        from ensemble.runtime.results import rows

        if by not in ("job", "point"):
            raise InputError(f"results are by `job` or by `point`, not by {by!r}")
        return list(rows(self.path, by))

    def status(self) -> Status:
        """How it stands: groups, points, members, rules, limits."""
        from ensemble.runtime.opening import fold

        return fold(self.path).engine.status()

    def explain(self, rule: str = "") -> list[RuleExplanation]:
        """For each rule (or one): how often it fired and what it waits for."""
        from ensemble.runtime.opening import fold

        return fold(self.path).engine.explain(rule)

    def verify(self) -> Verification:
        """Decide everything again and compare with what was decided."""
        from ensemble.runtime import verify

        return verify(self.path)

    # ---- what can be asked of it -------------------------------------------------------------------

    def act(self, action: Mapping[str, Any]) -> None:
        """Ask for an action, such as `group.submit(3)`. Raises `InputError` for one that the ensemble does not allow,
        or when no process is at the run."""
        self._ask(Requested("action", "api", action=dict(action)))

    def drain(self) -> None:
        """Let the jobs that run finish, start no others, then end."""
        self._ask(Requested("drain", "api"))

    def cancel(self) -> None:
        """Cancel its jobs, then end."""
        self._ask(Requested("cancel", "api"))

    def detach(self) -> None:
        """Leave its jobs running; `resume` goes on with it."""
        if self._going is None:
            raise InputError(f"{self.name} is not run by this process")
        self._going.detach()

    def _ask(self, request: Requested) -> None:
        from ensemble.runtime import requests

        requests.check(request, self._spec())
        requests.post(self.path, request)

    # ---- small things ------------------------------------------------------------------------------

    @property
    def _finished(self) -> RunResult | None:
        if self._result is None and self._going is not None:
            self._result = self._going.result
        return self._result

    def _spec(self) -> EnsembleSpec:
        from ensemble.runtime.folding import begin

        return begin(next(read(self.path), None), self.path)[0].spec

    def _ended(self) -> End | None:
        if self._going is not None:
            return None
        from ensemble.runtime.opening import fold

        return fold(self.path).engine.ended

    def _followed(self, follower: Follower) -> Iterator[Record]:
        """Records of a run that another process is at, or none."""
        from ensemble.runtime.alive import process_at

        while True:
            alive = self._result is None and process_at(self.path) is not None
            for record in follower.new():
                yield record
                if any(isinstance(effect, End) for step in record.steps for effect in getattr(step, "effects", ())):
                    return
            if not alive:
                return
            threading.Event().wait(LOOK_SECONDS)

    def _wait_for_another(self, timeout: float | None) -> None:
        import time

        from ensemble.runtime.alive import process_at

        until = None if timeout is None else time.monotonic() + timeout
        while process_at(self.path) is not None:
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"{self.name} still goes on")
            threading.Event().wait(LOOK_SECONDS)


def open_run(name: str | Path = "last") -> Run:
    """A run by path, name or `last`. Raises `UnknownRun`."""
    from ensemble.runtime import index

    return Run(index.find(str(name)))


def list_runs() -> list[Run]:
    """Every run that is known here, oldest first."""
    from ensemble.runtime import index

    return [Run(known.path) for known in index.known()]


def resume(name: str | Path = "last", *, force: bool = False, output: str = "human") -> Run:
    """Go on with a run after whatever ended its process, to its end.

    Raises `InputError` as `ensemble resume` does; `force` takes it away from a process that is at it.
    """
    from ensemble.report.live import Live
    from ensemble.runtime import resume as resume_run
    from ensemble.runtime.opening import fold

    path = open_run(name).path
    engine = fold(path).engine
    with Live(engine.spec, output, engine) as live:
        result = _to_end(lambda: resume_run(path, RunOptions(), [live.observe], force=force))
    live.close(result)
    return Run(path, result=result)


def run_to_end(spec: EnsembleSpec, options: RunOptions, output: str) -> Run:
    """Run an ensemble in this thread."""
    from ensemble.report.live import Live
    from ensemble.runtime import run

    with Live(spec, output) as live:
        result = _to_end(lambda: run(spec, options, [live.observe]))
    live.close(result)
    return Run(Path(result.run_dir), result=result)


def start(spec: EnsembleSpec, options: RunOptions) -> Run:
    """Begin to run an ensemble in a thread of its own."""
    going = _Going(spec, options)
    return Run(going.begin(), going)


def _to_end(make: Callable[[], Any]) -> RunResult:
    """Run a coroutine here, or in a thread where this one has a loop already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        result: RunResult = asyncio.run(make())
        return result
    found: list[RunResult] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(asyncio.run(make()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="ensemble")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


class _Going:
    """A run in a thread: what is durable, and the end."""

    def __init__(self, spec: EnsembleSpec, options: RunOptions) -> None:
        self._spec = spec
        self._options = options
        self._changed = threading.Condition()
        self._durable = 0
        self._path = Path()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run_loop: RunLoop | None = None
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
            self._changed.wait_for(lambda: self._durable > 0 or self._over)
        if self._durable == 0 and self._error is not None:
            raise self._error
        return self._path

    @property
    def _over(self) -> bool:
        return self.result is not None or self._error is not None

    def records(self, follower: Follower) -> Iterator[Record]:
        """What has become durable, as it does, to the end."""
        seen = -1
        with self._interrupts_heard():
            while True:
                with self._changed:
                    self._changed.wait_for(partial(self._more_than, seen))
                    over, seen = self._over, self._durable
                yield from follower.new(None if over else seen)
                if over:
                    if self._error is not None:
                        raise self._error
                    return

    def _more_than(self, seen: int) -> bool:
        return self._durable > seen or self._over

    def wait(self, timeout: float | None) -> RunResult:
        """Its result. Raises `TimeoutError`, or what the run raised."""
        with self._interrupts_heard(), self._changed:
            if not self._changed.wait_for(lambda: self._over, timeout):
                raise TimeoutError(f"{self._path.name} still goes on")
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self.result is not None
        return self.result

    def detach(self) -> None:
        """Leave the run."""
        if self._loop is not None and self._run_loop is not None and not self._over:
            self._loop.call_soon_threadsafe(self._run_loop.detach)

    @contextmanager
    def _interrupts_heard(self) -> Iterator[None]:
        """While this is open, Ctrl-C is for the run. It could come anywhere, also in the caller's own lines."""
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
        """Ctrl-C: once drains, twice cancels, three times is for the script."""
        self._interrupts += 1
        if self._interrupts > 2 or self._loop is None or self._run_loop is None or self._over:
            raise KeyboardInterrupt
        request = Requested("drain" if self._interrupts == 1 else "cancel", "SIGINT")
        self._loop.call_soon_threadsafe(self._run_loop.post, request)

    def _work(self) -> None:
        try:
            result = asyncio.run(self._drive())
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
        else:
            with self._changed:
                self.result = result
                self._changed.notify_all()

    async def _drive(self) -> RunResult:
        from dataclasses import replace

        from ensemble.runtime import run

        self._loop = asyncio.get_running_loop()
        options = replace(self._options, signals=False, opened=self._opened)
        observers: list[Observer] = [self._observe]
        return await run(self._spec, options, observers)

    def _opened(self, loop: RunLoop) -> None:
        with self._changed:
            self._run_loop = loop
            self._path = Path(loop.run_dir)
            self._changed.notify_all()

    def _observe(self, record: Record) -> None:
        with self._changed:
            self._durable = record.seq
            self._changed.notify_all()
