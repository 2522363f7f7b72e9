"""Building an ensemble: groups, rules, and functions that become rules."""

from __future__ import annotations

__all__ = ["Ensemble", "Group"]

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ensemble.api import actions
from ensemble.api.actions import Action
from ensemble.api.plain import plain
from ensemble.api.typed import source_of
from ensemble.model.errors import InputError, Problem, SpecError
from ensemble.spec.model import EnsembleSpec

if TYPE_CHECKING:
    from ensemble.api.running import Run
    from ensemble.simulation.result import SimulationResult

Function = TypeVar("Function", bound=Callable[..., Any])


class Group:
    """A group of an ensemble; `str(group)` is its name, so that it can stand in an expression."""

    __ensemble_name__ = True

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Group({self.name!r})"

    def submit(self, value: int | None = None, parameters: Mapping[str, Any] | None = None) -> Action:
        """The action that submits `value` more jobs per point; see `ensemble.submit`."""
        return actions.submit(self, value, parameters)

    def cancel(self, states: Iterable[str] = ()) -> Action:
        """The action that cancels its jobs; see `ensemble.cancel`."""
        return actions.cancel(self, states)

    def metric(self, statistic: str, quantity: str) -> str:
        """The path of a metric of this group: `melt.metric("mean", "pressure")` is `mean.melt.pressure`."""
        return f"{statistic}.{self.name}.{quantity}"


class Ensemble:
    """Groups of jobs and the rules that steer them, built in Python.

    Every key and value is that of the file (docs/reference.md); what the file refuses is refused here, with the line
    of the script that said it.

        study = Ensemble("melt", seed=1)
        melt = study.group("melt", "lmp -in in.melt -var T {T}", parameters={"T": [0.8, 1.1]})

        @study.rule("job-success", melt)
        def again(metrics, event):
            return melt.submit(1) if metrics.get("count.melt.success") < 10 else None

        if __name__ == "__main__":
            study.run()

    A function that is a rule is called in a worker process, which loads the script that has it: it must stand at the
    top level of a file, and gets those of `job`, `metrics`, `points`, `event`, `rule`, `action`, `options`,
    `parameters`, `binding` (axis values of a `for_each` rule) and `now` that it names. It returns an action, a rule, a
    list of those, or None.
    """

    def __init__(self, name: str = "", *, directory: str | Path = "", **keys: Any) -> None:
        """`keys` are the file's: `seed`, `members`, `limits`, `algorithm`, `logging`, `custom`, `jobs`, `rules`.

        `directory`: what `inputs` and other paths are relative to (left out: where the script lies).
        """
        caller = sys._getframe(1).f_code.co_filename
        self._script = os.path.abspath(caller) if os.path.isfile(caller) else ""
        self._directory = str(directory) or os.path.dirname(self._script)
        self._head = plain({"name": name or (Path(self._script).stem if self._script else "ensemble"), **keys})
        self._typed: dict[str, str] = {}
        """Functions that were typed in, as source text."""
        self._unset: set[int] = set()
        """The groups whose axes have no values yet: a script submits their points."""
        self._jobs: list[dict[str, Any]] = list(self._head.pop("jobs", ()))
        self._rules: list[dict[str, Any]] = list(self._head.pop("rules", ()))
        self._places: dict[str, tuple[str, int]] = {}
        self._loaded: EnsembleSpec | None = None
        self._file = ""

    @classmethod
    def load(cls, path: str | Path) -> Ensemble:
        """The ensemble of a file. Raises `FileError` and `SpecError`."""
        from ensemble.runtime.opening import algorithms
        from ensemble.spec.loader import load

        made = cls()
        made._loaded, made._file, made._script = load(path, algorithms()), str(path), ""
        return made

    # ---- building --------------------------------------------------------------------------------

    def group(self, name: str, command: str = "", **keys: Any) -> Group:
        """Add a group. `keys` are those of an entry of `jobs` in the file: `count`, `parameters`, `tasks`, ...

        Axes without values, `parameters={"x": []}`, make a group that has no points until `Run.submit` makes some.
        """
        self._refuse_loaded()
        self._note(f"jobs[{len(self._jobs)}]")
        entry = {"name": name, **({"command": command} if command else {}), **plain(keys)}
        axes = entry.get("parameters")
        if isinstance(axes, dict) and axes and all(values == [] for values in axes.values()):
            self._unset.add(len(self._jobs))
        self._jobs.append(entry)
        return Group(name)

    def rule(
        self,
        trigger: str,
        name: str | Group = "",
        *,
        when: str | float | None = None,
        action: Mapping[str, Any] | str | None = None,
        for_each: str | Sequence[str] = "",
        seconds: float | str | None = None,
        id: str = "",  # noqa: A002 - the file's word
        repetitions: int | str | None = None,
        backoff: int | None = None,
        cooldown: float | str | None = None,
        concurrency: int | None = None,
        on_error: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Callable[[Function], Function]:
        """Add a rule: with `action`, one that does that; without, as a decorator, one that calls the function.

        `trigger`, `name` (a group or a metric path), `when`, `for_each`, `seconds` and `id` are those of a rule in the
        file, the others those of its action. Functions are called `id` if none is given. `options` are handed to the
        function.
        """
        self._refuse_loaded()
        place = self._caller()
        how = {
            "repetitions": repetitions,
            "backoff": backoff,
            "cooldown": cooldown,
            "concurrency": concurrency,
            "on_error": on_error,
            "options": options,
        }
        keys = {
            "trigger": trigger,
            "name": str(name) or None,
            "when": when,
            "for_each": for_each or None,
            "seconds": seconds,
        }

        def add(action: Mapping[str, Any], rule_id: str) -> None:
            self._places[f"rules[{len(self._rules)}]"] = place
            rule = {"id": rule_id or None, **keys, "action": {**action, **_present(how)}}
            self._rules.append(plain(_present(rule)))

        if action is not None:
            add({"name": action} if isinstance(action, str) else action, id)
            return _no_decorator

        def decorate(function: Function) -> Function:
            add({"name": "custom", "label": self._label(function)}, id or function.__name__)
            return function

        return decorate

    def to_dict(self) -> dict[str, Any]:
        """The ensemble as plain data in the file's format."""
        if self._loaded is not None:
            raise InputError(f"this ensemble is that of {self._file}: the file is its plain form")
        typed = {"custom": "\n\n".join(self._typed.values())} if self._typed else {}
        rules = {"rules": list(self._rules)} if self._rules else {}
        return {**self._head, **typed, "jobs": list(self._jobs), **rules}

    def spec(self) -> EnsembleSpec:
        """The ensemble as checked data. Raises `SpecError` with everything that is wrong."""
        from ensemble.runtime.opening import algorithms
        from ensemble.spec.loader import from_plain

        if self._loaded is not None:
            return self._loaded
        try:
            return self._without_points(from_plain(self._with_points(), self._directory, algorithms()))
        except SpecError as error:
            raise SpecError([self._placed(problem) for problem in error.problems]) from None

    def _with_points(self) -> dict[str, Any]:
        """The plain form as the file's reader takes it: an axis has at least one value."""
        found = self.to_dict()
        for place in self._unset:
            axes = {axis: [1] for axis in found["jobs"][place]["parameters"]}
            found["jobs"][place] = {**found["jobs"][place], "parameters": axes}
        return found

    def _without_points(self, spec: EnsembleSpec) -> EnsembleSpec:
        jobs = list(spec.jobs)
        for place in self._unset:
            parameters: dict[str, Any] = {axis: [] for axis in jobs[place].axes}
            jobs[place] = msgspec.structs.replace(jobs[place], points=(), parameters=parameters)
        return msgspec.structs.replace(spec, jobs=tuple(jobs))

    def check(self) -> list[str]:
        """What looks like a mistake: rules that can never fire, loops without a bound, groups that are never submitted.

        Raises `SpecError` for what cannot work.
        """
        from ensemble.runtime.examining import examine

        return [str(self._placed(problem)) for problem in examine(self.spec())]

    # ---- doing -----------------------------------------------------------------------------------

    def run(
        self,
        *,
        member: str = "",
        nodes: int = 0,
        seed: int | None = None,
        base: str | Path = "runs",
        run_dir: str | Path = "",
        output: str = "human",
        detach: bool = False,
    ) -> Run:
        """Run it to its end and return the run.

        `member` and `nodes` are those of `ensemble run`. `base`: where the directory `<name>-<n>` of the run is made;
        `run_dir`: this directory instead. `output`: `human` shows progress and a closing table, `json` prints each
        record, `quiet` nothing. `detach`: come back once everything is submitted. Ctrl-C once lets the jobs that run
        finish, twice cancels them. Raises `InputError` before anything is spent when it cannot begin.
        """
        from ensemble.api.running import run_to_end

        return run_to_end(self._ready(member, nodes, seed), self._options(base, run_dir, detach), output)

    def start(
        self,
        *,
        member: str = "",
        nodes: int = 0,
        seed: int | None = None,
        base: str | Path = "runs",
        name: str = "",
        run_dir: str | Path = "",
        resume: bool = False,
        detach: bool = False,
    ) -> Run:
        """Begin to run it, in a thread, and return the run, which stays open for more jobs.

            with study.start() as run:
                run.submit(work, points=[{"x": 1}, {"x": 2}])
                for job in run.completed():
                    print(job.parameters, job.figures)

        It ends after its block, or once `wait` or an iteration over its events says that no more will come. `name`
        names its directory in `base` (left out: `<name of the ensemble>-<n>`), `run_dir` is that directory itself.
        `resume`: where there is such a run already, continue it instead, whatever ended its process; without `name` or
        `run_dir`, that of the ensemble's name. The other arguments, and the errors, are those of `run`.
        """
        from ensemble.api.running import continue_or_start, start

        if name and run_dir:
            raise InputError("a run has a `name` in `base` or a `run_dir` of its own, not both")
        spec = self._ready(member, nodes, seed, steered=True)
        if name or (resume and not run_dir):
            run_dir = Path(base) / (name or spec.name)
        options = self._options(base, run_dir, detach, held=not detach)
        return continue_or_start(spec, options) if resume else start(spec, options)

    def simulate(self, *, repeat: int = 1, seed: int | None = None, **options: Any) -> SimulationResult:
        """Run it in virtual time, `repeat` times; `options` are those of `ensemble.simulation.simulate`."""
        from ensemble.runtime.index import find
        from ensemble.runtime.opening import algorithms
        from ensemble.simulation import simulate

        _not_in_a_worker()
        return simulate(
            self.spec(),
            seed=seed,
            repeat=repeat,
            script=self._script,
            algorithms=algorithms(),
            **{"find": find, **options},
        )

    # ---- small things ----------------------------------------------------------------------------

    def _ready(self, member: str, nodes: int, seed: int | None, steered: bool = False) -> EnsembleSpec:
        from ensemble.runtime.examining import examine
        from ensemble.runtime.opening import kind_here, on_member

        _not_in_a_worker()
        spec = on_member(self.spec(), member or kind_here(self.spec()), nodes)
        try:
            examine(spec, steered=steered)
        except SpecError as error:
            raise SpecError([self._placed(problem) for problem in error.problems]) from None
        return spec if seed is None else msgspec.structs.replace(spec, seed=seed)

    def _options(self, base: str | Path, run_dir: str | Path, detach: bool, held: bool = False) -> Any:
        from ensemble.runtime import RunOptions

        return RunOptions(
            base=str(base),
            run_dir=str(run_dir),
            source=self._file,
            script=self._script,
            detach=detach,
            held=held,
        )

    def _label(self, function: Callable[..., Any]) -> str:
        """What a worker finds the function by. Raises `InputError` for one that it could not find."""
        name = getattr(function, "__qualname__", "")
        code = getattr(function, "__code__", None)
        where = code.co_filename if code is not None else ""
        if not name or "<" in name or "." in name:
            raise InputError(
                f"{name or function!r} cannot be a rule: its function is called in another process and is found there "
                "by name, so it must be a function at the top level of a file"
            )
        if not os.path.isfile(where):
            if self._head.get("custom"):
                raise InputError(
                    f"{name} was typed in and is in no file, and `custom` has the functions of this ensemble already. "
                    "Put it into a module and import it"
                )
            self._typed[name] = source_of(function)
            return name
        if os.path.abspath(where) == self._script or function.__module__ in ("__main__", "ensemble_script"):
            self._script = os.path.abspath(where)
            return name
        return f"{function.__module__}:{name}"

    def _note(self, where: str) -> None:
        self._places[where] = self._caller(3)

    def _caller(self, depth: int = 2) -> tuple[str, int]:
        frame = sys._getframe(depth)
        return frame.f_code.co_filename, frame.f_lineno

    def _placed(self, problem: Problem) -> Problem:
        """The problem with the line of the script that said it."""
        entry = problem.where.partition("]")[0] + "]"
        if problem.line or entry not in self._places:
            return problem
        file, line = self._places[entry]
        return Problem(problem.message, file, line, 1, problem.where, problem.hint)

    def _refuse_loaded(self) -> None:
        if self._loaded is not None:
            raise InputError(f"this ensemble is that of {self._file}; change the file, or build one in Python")


def _not_in_a_worker() -> None:
    """Stop here where the script is only loaded for its functions."""
    from ensemble.functions.loading import ScriptRuns, in_function_worker

    if in_function_worker():
        raise ScriptRuns


def _present(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _no_decorator(_: Any) -> Any:
    raise InputError("a rule with an `action` needs no function; leave out `action` to decorate one")
