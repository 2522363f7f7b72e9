"""The worker: a process of its own that loads people's code and calls it. A call may never return.

The time limit is kept by a watchdog outside the interpreter's lock (`faulthandler`), which says where the code hangs
and ends the process; so it holds for a loop in C too, and when nobody is left on the other side.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any

from ensemble.functions.frames import ANSWER_LIMIT, HEAD, decode, encode
from ensemble.functions.loading import Code, Missing, accepted, problem_with, taken
from ensemble.functions.shapes import Metrics, item

IN_WORKER = "ENSEMBLE_FUNCTION_WORKER"
"""Set in the environment of a worker: a script that is imported here must not start its run again."""

_DETAIL = 8000


def call(code: Code, function: str, args: dict[str, Any]) -> dict[str, Any]:
    """Call one function; return `results`, or `error`, `fault` and `detail`."""
    try:
        found = code.find(function)
        action = item(args.get("action") or {})
        metrics, points = args.get("metrics") or {}, args.get("points") or {}
        if "points" not in metrics:
            # as version 0.1 had it
            old = {name: [{**one, "values": one["parameters"]} for one in rows] for name, rows in points.items()}
            metrics = {**metrics, "points": old}
        values = {
            **{name: item(value) for name, value in args.items()},
            "action": action,
            "metrics": Metrics(item(metrics)),
            "options": action.get("options", {}),
            "parameters": action.get("parameters", {}),
        }
        result = found(**accepted(found, values))
        results = [_plain(one) for one in (result if isinstance(result, list | tuple) else [result]) if one is not None]
    except BaseException as error:
        return _raised(error)
    return {"results": results}


def check(code: Code, names: list[str]) -> dict[str, Any]:
    """Return what is wrong with each of these functions (good ones are left out), and the arguments that each takes."""
    problems, takes = {}, {}
    for name in names:
        try:
            found = code.find(name)
            problem, takes[name] = problem_with(found), taken(found)
        except BaseException as error:
            problems[name] = _line(error)
        else:
            if problem:
                problems[name] = problem
    return {"problems": problems, "takes": takes}


def _raised(error: BaseException) -> dict[str, Any]:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next
    try:
        detail = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        detail = ""
    return {"error": _line(error), "fault": "raised", "detail": detail[-_DETAIL:]}


def _line(error: BaseException) -> str:
    """An exception in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be shown)"
    if isinstance(error, Missing):
        return text
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:1000]


def _plain(result: Any) -> Any:
    """Objects of the Python API as plain data."""
    to_plain = getattr(result, "to_plain", None)
    if callable(to_plain):
        return to_plain()
    if hasattr(result, "__struct_fields__"):
        import msgspec

        return msgspec.to_builtins(result)
    return result


class _Connection:
    """The worker's connection to the engine. A thread reads requests, so the end of the engine is always noticed."""

    def __init__(self) -> None:
        # people's code must neither read our messages nor print among them
        self._source = os.dup(0)
        self._answers = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="requests", daemon=True).start()

    def _listen(self) -> None:
        with os.fdopen(self._source, "rb") as source:
            while len(head := source.read(HEAD)) == HEAD:
                self._requests.put(decode(source.read(int.from_bytes(head, "big"))))
        # nobody is left to answer to: end whatever runs, with everything that it started
        os.killpg(0, signal.SIGKILL)

    def next(self) -> dict[str, Any]:
        """Wait for the next request and return it."""
        return self._requests.get()

    def answer(self, message: dict[str, Any]) -> None:
        """Send an answer; where it cannot be sent, send the reason."""
        try:
            data = encode(message)
            wrong = (
                f"it has {len(data):,} bytes; at most {ANSWER_LIMIT:,} are taken" if len(data) > ANSWER_LIMIT else ""
            )
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            wrong = _line(error)
        if wrong:
            data = encode({"error": f"what it returned cannot be used: {wrong}", "fault": "nonsense"})
        sys.stdout.flush()
        sys.stderr.flush()
        view = memoryview(data)
        while view:
            view = view[os.write(self._answers, view) :]


def main() -> None:
    """Answer requests until the other side is gone."""
    connection = _Connection()
    setup = connection.next()
    faulthandler.enable()
    faulthandler.dump_traceback_later(setup["load_limit"], exit=True)
    os.environ[IN_WORKER] = "1"
    sys.path[:0] = [*setup["paths"], setup["directory"] or os.getcwd()]
    code = Code(setup["custom"], setup["directory"], setup["script"])
    try:
        code.load()
    except BaseException as error:
        # every call fails with this error
        failed: dict[str, Any] | None = _raised(error)
    else:
        failed = None
    faulthandler.cancel_dump_traceback_later()
    connection.answer({"ready": True})
    while True:
        request = connection.next()
        faulthandler.dump_traceback_later(setup["time_limit"], exit=True)
        if failed is not None:
            answer = failed
        elif "check" in request:
            answer = check(code, request["check"])
        else:
            answer = call(code, request["function"], request["args"])
        faulthandler.cancel_dump_traceback_later()
        connection.answer(answer)


if __name__ == "__main__":
    main()
