"""The engine's side: calls a function in a worker, and turns whatever happens into an answer."""

from __future__ import annotations

import asyncio
import math
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from ensemble.functions.process import LOAD_LIMIT, Died, Hung, Log, Setup, WorkerProcess
from ensemble.model.errors import InputError
from ensemble.model.events import FunctionReturned
from ensemble.spec.model import EnsembleSpec

__all__ = ["TIME_LIMIT", "FunctionWorkers", "Validate", "check_functions"]

TIME_LIMIT: Final = 30.0
"""Seconds a call may take."""

Validate = Callable[[dict[str, Any]], dict[str, Any]]
"""Checks one action or rule and returns it in its full form. Raises `InputError`."""


class FunctionWorkers:
    """Worker processes for people's functions, started with the first call (or `warm`) and again after a crash."""

    def __init__(
        self,
        spec: EnsembleSpec,
        run_dir: str = "",
        script: str = "",
        time_limit: float = TIME_LIMIT,
        *,
        workers: int = 0,
        paths: Sequence[str] = (),
        validate: Validate | None = None,
    ) -> None:
        """`spec.custom` is inline source, or the path of a `.py` file relative to `spec.directory`.

        `script` is the Python script that built the ensemble, whose functions are called by name. What functions
        print, and how they failed, goes to `functions.log` in `run_dir` (nowhere without one). `time_limit` is in
        seconds. `workers`: calls at a time (left out: the largest `concurrency` of a rule); with one, calls are
        answered in the order in which they were made. `paths`
        are searched for modules, after which comes the directory of the file. `validate` checks what comes back; left
        out, it is held against the spec.
        """
        self.time_limit = time_limit
        self._validate = validate or _against(spec)
        setup = Setup(spec.custom, spec.directory, script, tuple(paths), time_limit, max(LOAD_LIMIT, time_limit))
        self.takes: dict[str, frozenset[str] | None] = {}
        """What each function that was checked names in its signature; None where it takes everything."""
        self._log = Log()
        self.log_to(run_dir)
        workers = workers or max((rule.action.concurrency for rule in spec.rules), default=1)
        self._workers = [WorkerProcess(setup, self._log) for _ in range(workers)]
        # the first that is free, so that calls made one at a time find what earlier ones left in the module
        self._idle: queue.PriorityQueue[int] = queue.PriorityQueue()
        for number in range(workers):
            self._idle.put(number)
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False

    def log_to(self, run_dir: str) -> None:
        """Send what functions print to `functions.log` in a run's directory from now on."""
        self._log.open(Path(run_dir) / "functions.log" if run_dir else None)

    async def call(self, command: int, function: str, args: dict[str, Any]) -> FunctionReturned:
        """Call a function. Never raises for what the function does: that is in the answer.

        `fault` is raised (the traceback is in `detail`), hung or died (what it printed last is in `detail`; after
        a hang that is where it hung), or nonsense.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(len(self._workers), "functions")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.call_sync, command, function, args)

    def call_sync(self, command: int, function: str, args: dict[str, Any]) -> FunctionReturned:
        """The same for a caller without an event loop; waits for the answer."""
        answer = self._answer(command, function, args)
        if answer.error:
            trace = answer.detail if answer.fault == "raised" else ""
            self._log.write(f"{answer.error}\n{trace}".rstrip().encode() + b"\n")
        return answer

    def _answer(self, command: int, function: str, args: dict[str, Any]) -> FunctionReturned:
        try:
            answer = self._ask({"function": function, "args": args})
        except Hung as error:
            text = f"{function} took more than {self.time_limit:g} s"
            return FunctionReturned(command, error=text, fault="hung", detail=str(error))
        except Died as error:
            text = f"{function} ended its process ({error.how})"
            return FunctionReturned(command, error=text, fault="died", detail=str(error))
        except OSError as error:
            text = f"no worker can be started for {function}: {error.strerror or error}"
            return FunctionReturned(command, error=text, fault="died")
        if "error" in answer:
            text = f"{function}: {answer['error']}"
            return FunctionReturned(command, error=text, fault=answer["fault"], detail=answer.get("detail", ""))
        return self._checked(command, function, answer["results"])

    def check(self, names: Sequence[str]) -> dict[str, str]:
        """Return which of these functions cannot be called, and why, a line for each. Remember what the others take."""
        if not names:
            return {}
        try:
            answer = self._ask({"check": list(names)})
        except Hung:
            return dict.fromkeys(names, f"loading the custom code took more than {LOAD_LIMIT:g} s")
        except Died as error:
            return dict.fromkeys(names, f"the custom code ended its process ({error.how})")
        except OSError as error:
            return dict.fromkeys(names, f"no worker can be started: {error.strerror or error}")
        if "error" in answer:
            return dict.fromkeys(names, f"the custom code does not load: {answer['error']}")
        problems: dict[str, str] = answer["problems"]
        for name, names_of in answer["takes"].items():
            self.takes[name] = None if names_of is None else frozenset(names_of)
        return problems

    async def close(self) -> None:
        """End the workers and whatever they are doing."""
        self.close_sync()

    def close_sync(self) -> None:
        """The same for a caller without an event loop."""
        self._closed = True
        for worker in self._workers:
            worker.interrupt()
        if self._threads is not None:
            # each waiting call sees its worker end, within a moment
            self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.kill()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        number = self._idle.get()
        worker = self._workers[number]
        try:
            if self._closed:
                raise Died("the run is over", "")
            return worker.ask(request)
        except OSError:
            worker.kill()
            raise
        finally:
            self._idle.put(number)

    def _checked(self, command: int, function: str, results: list[Any]) -> FunctionReturned:
        checked = []
        for result in results:
            try:
                checked.append(self._validate(_mapping(result)))
            except InputError as error:
                text = f"{function} returned nonsense: {' '.join(str(error).split())}"
                return FunctionReturned(command, error=text, fault="nonsense", detail=_short(result, 2000))
        return FunctionReturned(command, tuple(checked))


def check_functions(
    spec: EnsembleSpec,
    names: Sequence[str],
    script: str = "",
    time_limit: float = TIME_LIMIT,
    *,
    paths: Sequence[str] = (),
) -> dict[str, str]:
    """Check that the custom code loads and has these functions; return the problems by function name.

    The code is loaded in a worker, which ends with this call; it may take `time_limit` seconds (at least 60).
    """
    workers = FunctionWorkers(spec, "", script, time_limit, paths=paths)
    try:
        return workers.check(names)
    finally:
        workers.close_sync()


def _against(spec: EnsembleSpec) -> Validate:
    """Check what a function returned against the file format."""

    def validate(result: dict[str, Any]) -> dict[str, Any]:
        from ensemble.spec.loader import action_from_plain, rule_from_plain

        read = rule_from_plain if "trigger" in result else action_from_plain
        checked: dict[str, Any] = msgspec.to_builtins(read(result, spec))
        return checked

    return validate


def _mapping(result: Any) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise InputError(f"{_short(result)} is not an action, a rule or None")
    if _not_finite(result):
        raise InputError("it holds a number that is not finite")
    return result


def _short(value: Any, most: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _not_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_not_finite(inner) for inner in value.values())
    return isinstance(value, list | tuple) and any(_not_finite(inner) for inner in value)
