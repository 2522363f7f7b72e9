"""Runs in Python: going on in a thread of this process, going on elsewhere, or over."""

from __future__ import annotations

__all__ = ["Run", "continue_or_start", "list_runs", "open_run", "resume", "run_to_end", "start"]

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import msgspec

from ensemble.api.background import BackgroundRun
from ensemble.api.jobs import Job, JobEnds
from ensemble.api.plain import plain
from ensemble.engine import RuleExplanation, Status
from ensemble.journal import Follower
from ensemble.model.decisions import Record
from ensemble.model.errors import InputError, Refused
from ensemble.model.events import Event, Requested
from ensemble.runs.local import LocalRun, LocalRuns, to_end
from ensemble.runtime import RunOptions, RunResult, Verification
from ensemble.runtime.folding import stillborn
from ensemble.runtime.requests import Answer, answer, complete, is_over
from ensemble.spec.model import EnsembleSpec

LOOK_SECONDS: Final = 0.2
"""How often the journal of another process's run is looked at."""


class Run:
    """One run. Everything it answers comes from its journal, so it answers while the run goes on and ever after.

    A run that `Ensemble.start` began stays open for more jobs until its `with` block ends, or until `wait` or an
    iteration over its events says that no more will be submitted.
    """

    def __init__(self, path: Path, background: BackgroundRun | None = None, result: RunResult | None = None) -> None:
        """Use `Ensemble.run`, `Ensemble.start`, `resume` or `open_run`."""
        self.path = path
        self._local = LocalRun(path)
        self._background = background
        self._result = result
        self._ends = JobEnds(path, self._wait_for_job)
        self._delivered = 0
        self._held = background is not None

    @property
    def name(self) -> str:
        """Its name, such as `melt-3`."""
        return self.path.name

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def outcome(self) -> str:
        """success, stopped, terminated, failed, limit, drained or cancelled; detached, unavailable, fenced or storage
        where `resume` continues it; empty while it goes on."""
        if self._finished is not None:
            return self._finished.outcome
        return "" if self._background is not None else self._local.info().outcome

    @property
    def reason(self) -> str:
        """Why it ended so, in words."""
        if self._finished is not None:
            return self._finished.reason
        return "" if self._background is not None else self._local.info().reason

    @property
    def exit_code(self) -> int | None:
        """What `ensemble run` would exit with; None while it goes on."""
        if self._finished is not None:
            return self._finished.exit_code
        from ensemble.runtime.loop import EXIT_CODES

        outcome = self.outcome
        return EXIT_CODES.get(outcome, 1) if outcome else None

    # ---- a block that keeps it open ----------------------------------------------------------------

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the end. After an exception the run is left, with its jobs going on, unless it is ending."""
        if self._background is None:
            return
        if error is None:
            self.wait()
            return
        self._read()
        if not self._ends.engine.draining:
            self._background.detach()
        self._result = self._background.wait()

    def wait(self, timeout: float | None = None) -> Run:
        """Let the run end, wait for that and return it. Raises `TimeoutError` after `timeout` seconds."""
        if self._background is not None:
            self._release()
            with self._background.interrupts():
                self._result = self._background.wait(timeout)
        elif self._result is None:
            self._wait_elsewhere(timeout)
        return self

    def _release(self) -> None:
        if self._background is not None and self._held:
            self._held = False
            # if it ended meanwhile there is nothing to release
            self._background.ask(Requested("release", "api"))

    # ---- jobs --------------------------------------------------------------------------------------

    def submit(
        self, group: Any, *, points: Iterable[Mapping[str, Any]] | None = None, count: int | None = None, key: str = ""
    ) -> list[Job]:
        """Submit jobs of a group; return one `Job` each once they are durably noted, in the order of `points`.

        `points` are mappings with a value for every axis of the group, known or new; left out, all its points so far.
        `count`: jobs for each point (left out: the group's). What was submitted under a `key` is not submitted again: a
        script that is started again gets the jobs that it made before. Raises `InputError` for what the ensemble does
        not allow, and `Refused` when the run is over or takes no more jobs.
        """
        action: dict[str, Any] = {"name": "submit", "label": str(group)}
        if count is not None:
            action["value"] = count
        if isinstance(points, Mapping):
            raise InputError(f"`points` is a list of points: write points=[{dict(points)!r}] for one")
        if points is not None:
            action["points"] = [plain(point) for point in points]
            if not action["points"]:
                return []
            self._check_points(action)
        found = self._ask(Requested("action", "api", action=action, key=key))
        return [self.job(one) for one in found.jobs]

    def _check_points(self, action: dict[str, Any]) -> None:
        """Hold one point of each kind against the file, which names what is wrong. The run looks at every one."""
        kinds = {tuple(point): point for point in action["points"]}
        for point in kinds.values():
            parameters = {axis: [value] for axis, value in point.items()}
            one = {key: value for key, value in action.items() if key != "points"}
            complete(Requested("action", action={**one, "parameters": parameters}), self._spec())

    def job(self, key: str) -> Job:
        """The job of that key. Raises `InputError` when there is none."""
        self._read()
        return self._ends.job(key)

    def completed(self) -> Iterator[Job]:
        """Yield jobs as they end, in their order, each once; stop when nothing is under way.

        More may be submitted between two jobs. A second call continues where the first stopped. In a script that is
        started again the ends of earlier jobs come first, in the order in which they came before.
        """
        with self._interrupts():
            while True:
                self._read()
                while self._delivered < len(self._ends.ended):
                    self._delivered += 1
                    yield self._ends.ended[self._delivered - 1]
                if not self._ends.engine.busy or not self._more():
                    self._read()
                    if self._delivered == len(self._ends.ended):
                        return

    def best(
        self, group: Any, figure: str, goal: Literal["minimize", "maximize"] = "minimize", default: Any = None
    ) -> Any:
        """The successful job of a group whose `figure` is best so far; the first of equals, `default` without any.

        Of the jobs that `completed` has given, so that a script that is started again sees the same; where it is not
        used, of all that have ended.
        """
        if goal not in ("minimize", "maximize"):
            raise InputError(f"a figure is to be `minimize`d or `maximize`d, not {goal!r}")
        if not self._delivered:
            self._read()
        ended = self._ends.ended[: self._delivered] if self._delivered else self._ends.ended
        name = str(group)
        known = [job for job in ended if job.group == name and job.outcome == "success" and figure in job.figures]
        choose = min if goal == "minimize" else max
        return choose(known, key=lambda job: job.figures[figure], default=default)

    def _wait_for_job(self, job: Job, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        with self._interrupts():
            while True:
                self._read()
                if job.outcome:
                    return
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"{job.key} is not over after {timeout:g} s")
                if not self._more(left):
                    self._read()
                    if not job.outcome:
                        raise Refused(f"run {self.name} ended, or was left, before {job.key} was over")
                    return

    # ---- records -----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        """Its events from the first on, until it is over: those of jobs, members, timers, functions, people."""
        for record in self.records():
            yield record.event

    def records(self, after: int = 0) -> Iterator[Record]:
        """Each event with its time, its number and what was decided on it, until the run is over.

        Ctrl-C while waiting does what it does for `ensemble run`: once lets jobs finish, twice cancels them.
        """
        background = self._background
        if background is None:
            yield from self._local.events(after, follow=self._result is None)
            return
        self._release()
        follower = Follower(self.path, after)
        seen = -1
        with background.interrupts():
            while True:
                background.wait_for_more(seen)
                over, seen = background.over, background.durable
                yield from follower.new(None if over else seen)
                if over:
                    background.raise_error()
                    return

    # ---- questions ---------------------------------------------------------------------------------

    def results(self, by: str = "job") -> list[dict[str, Any]]:
        """Rows as plain data, ready for a data frame: one a job, or one a point with `by="point"`.

        A job's row has `key`, `group`, its parameters, `outcome`, `reason`, `exit_code`, `duration` and `pending` in
        seconds, and its figures; a point's row the counts, the mean and 95 % interval of each quantity, and `derived`.
        """
        return list(self._local.results(by))

    def status(self) -> Status:
        """The state of the run: groups, points, members, rules, limits."""
        return self._local.status()

    def explain(self, rule: str = "") -> list[RuleExplanation]:
        """For each rule (or one): how often it fired and what it waits for."""
        return self._local.explain(rule)

    def verify(self) -> Verification:
        """Decide everything again and compare with what was decided."""
        return self._local.verify()

    # ---- requests ----------------------------------------------------------------------------------

    def act(self, action: Mapping[str, Any], *, key: str = "") -> Answer:
        """Ask for an action, such as `group.submit(3)`; return what came of it once that is durable.

        What was done under a `key` is not done again. Raises `InputError` for an action that the ensemble does not
        allow, and `Refused` with the reason when it was not done, as when the run is over.
        """
        return self._ask(complete(Requested("action", "api", action=dict(action), key=key), self._spec()))

    def drain(self) -> None:
        """Let the jobs that run finish, start no others, then leave the run, to be resumed.

        A run that no process works on is taken over for this. Raises `Refused` when the run is over.
        """
        self._done(self._local.drain() if self._background is None else self._ask_here(Requested("pause", "api")))

    def cancel(self) -> None:
        """Cancel its jobs, then end. A run that no process works on is taken over for this.

        Raises `Refused` when the run is over.
        """
        self._done(self._local.cancel() if self._background is None else self._ask_here(Requested("cancel", "api")))

    def detach(self) -> None:
        """Leave its jobs running; `resume` continues it."""
        if self._background is None:
            raise InputError(f"{self.name} is not run by this process")
        self._background.detach()

    def _ask(self, request: Requested) -> Answer:
        # it may have been decided before under the same key
        found = self._known(request.key) if request.key else None
        return self._done(found or (self._local.ask(request) if self._background is None else self._ask_here(request)))

    def _ask_here(self, request: Requested) -> Answer:
        record = self._background.ask(request) if self._background is not None else None
        if record is not None:
            return answer(record)
        return Answer(False, is_over(self.name, self.outcome or "it ended just now"))

    @staticmethod
    def _done(found: Answer) -> Answer:
        if not found.done:
            raise Refused(found.text)
        return found

    def _known(self, key: str) -> Answer | None:
        """What a request under this key came to, if it has been made."""
        self._read()
        jobs = self._ends.engine.keyed(key)
        return None if jobs is None else Answer(True, jobs=jobs)

    # ---- small things ------------------------------------------------------------------------------

    @property
    def _finished(self) -> RunResult | None:
        if self._result is None and self._background is not None:
            self._result = self._background.result
        return self._result

    def _spec(self) -> EnsembleSpec:
        self._read()
        return self._ends.engine.spec

    def _read(self) -> None:
        """Take in what is durable."""
        background = self._background
        self._ends.read(background.durable if background is not None and not background.over else None)

    def _more(self, timeout: float | None = None) -> bool:
        """Wait until there is more to read; false when there will be none."""
        if self._background is not None:
            if self._background.over:
                self._background.raise_error()
                return False
            self._background.wait_for_more(self._ends.engine.seq, timeout)
            return True
        if self._ends.engine.ended is not None or not self._local.alive():
            return False
        time.sleep(LOOK_SECONDS if timeout is None else min(timeout, LOOK_SECONDS))
        return True

    def _interrupts(self) -> Any:
        return self._background.interrupts() if self._background is not None else nullcontext()

    def _wait_elsewhere(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        self._read()
        while self._more(None if until is None else max(0.0, until - time.monotonic())):
            self._read()
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"run {self.name} still goes on")


# ---- runs --------------------------------------------------------------------------------------------


def open_run(name: str | Path = "last") -> Run:
    """A run by path, name or `last`. Raises `UnknownRun`."""
    return Run(LocalRuns().find(str(name)).run_dir)


def list_runs() -> list[Run]:
    """Every run that is known here, oldest first."""
    from ensemble.runtime import index

    return [Run(known.path) for known in index.known()]


def resume(name: str | Path = "last", *, force: bool = False, output: str = "human") -> Run:
    """Go on with a run after whatever ended its process, to its end.

    Raises `InputError` as `ensemble resume` does; `force` takes the run over from a process that works on it.
    """
    from ensemble.report.live import Live

    found = LocalRuns().find(str(name))
    engine = found.engine()
    with Live(engine.spec, output, engine) as live:
        result = found.resume(live.observe, force=force)
    live.close(result)
    return Run(found.run_dir, result=result)


def run_to_end(spec: EnsembleSpec, options: RunOptions, output: str) -> Run:
    """Run an ensemble in this thread."""
    from ensemble.report.live import Live
    from ensemble.runtime import run

    with Live(spec, output) as live:
        result = to_end(run(spec, options, [live.observe]))
    live.close(result)
    return Run(Path(result.run_dir), result=result)


def start(spec: EnsembleSpec, options: RunOptions) -> Run:
    """Begin to run an ensemble in a thread of its own."""
    from ensemble.runtime import run

    background = BackgroundRun(lambda options, observers: run(spec, options, observers), options)
    return Run(background.begin(), background)


def continue_or_start(spec: EnsembleSpec, options: RunOptions) -> Run:
    """Continue the run in `options.run_dir`, or begin it where there is none; one that is over is just opened.

    Raises `InputError` when the run there is of another ensemble, or another process works on it.
    """
    from ensemble.runtime import resume as resume_run
    from ensemble.runtime.opening import fold

    path = Path(options.run_dir).absolute()
    if not (path / "journal").is_dir() or stillborn(path):
        return start(spec, options)
    engine = fold(path).engine
    different = _difference(_comparable(engine.spec), _comparable(spec))
    if different:
        raise InputError(
            f"the run in {path} is of another ensemble: {different}. Give this one another `run_dir` or name, or "
            "remove that run"
        )
    if engine.ended is not None:
        return Run(path)
    background = BackgroundRun(lambda options, observers: resume_run(path, options, observers), options)
    background.begin()
    return Run(path, background)


def _comparable(spec: EnsembleSpec) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(spec))
    # a study may have been moved together with its runs
    found.pop("directory", None)
    return found


def _difference(old: Any, new: Any, where: str = "") -> str:
    """Where two ensembles differ first; empty: nowhere."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            found = _difference(old.get(key), new.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return next(
            (
                found
                for place, pair in enumerate(zip(old, new, strict=True))
                if (found := _difference(*pair, f"{where}[{place}]"))
            ),
            "",
        )
    return "" if old == new else f"`{where}` differs"
