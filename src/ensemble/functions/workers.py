"""The engine's side: calls a function in a worker, and turns whatever happens into an answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from ensemble.model.errors import InputError
from ensemble.model.events import FunctionReturned
from ensemble.spec.loader import action_from_plain, rule_from_plain
from ensemble.spec.model import EnsembleSpec

TIME_LIMIT: Final = 30.0
"""Seconds a call may take."""

ANSWER_LIMIT: Final = 1 << 20
"""Bytes an answer may have."""


class FunctionWorkers:
    """One worker process, started with the first call and again after a crash. Calls are made one after another.

    `spec.custom` is inline source, or the path of a `.py` file relative to the ensemble file; `script` is the Python
    script that built the ensemble, whose decorated functions are called by name. What functions print goes to
    `functions.log` in the run directory.
    """

    def __init__(self, spec: EnsembleSpec, run_dir: str, script: str = "", time_limit: float = TIME_LIMIT) -> None:
        self.spec = spec
        self.run_dir = run_dir
        self.script = script
        self.time_limit = time_limit
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def call(self, command: int, function: str, args: dict[str, Any]) -> FunctionReturned:
        """Call a function. Never raises for what the function does: that is in the answer.

        `fault` is raised (the traceback is in `detail`), hung, died or nonsense.
        """
        async with self._lock:
            try:
                process = await self._worker()
                assert process.stdin is not None
                assert process.stdout is not None
                body = msgspec.json.encode({"function": function, "args": args})
                process.stdin.write(len(body).to_bytes(4, "big") + body)
                answer = await asyncio.wait_for(self._answer(process), self.time_limit)
            except TimeoutError:
                await self._kill()
                return FunctionReturned(command, error=f"{function} took more than {self.time_limit:g} s", fault="hung")
            except (OSError, asyncio.IncompleteReadError):
                code = await self._kill()
                return FunctionReturned(command, error=f"{function} ended its process ({_how(code)})", fault="died")
        if "error" in answer:
            return FunctionReturned(
                command, error=f"{function}: {answer['error']}", fault=answer["fault"], detail=answer.get("detail", "")
            )
        return self._checked(command, function, answer["results"])

    def _checked(self, command: int, function: str, results: list[Any]) -> FunctionReturned:
        checked = []
        for result in results:
            try:
                if not isinstance(result, dict):
                    raise InputError(f"{result!r} is not an action, a rule or None")
                if _not_finite(result):
                    raise InputError("it holds a number that is not finite")
                if "trigger" in result:
                    checked.append(msgspec.to_builtins(rule_from_plain(result, self.spec)))
                else:
                    checked.append(msgspec.to_builtins(action_from_plain(result, self.spec)))
            except InputError as error:
                return FunctionReturned(command, error=f"{function} returned nonsense: {error}", fault="nonsense")
        return FunctionReturned(command, tuple(checked))

    async def _worker(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        setup = {"custom": self.spec.custom, "directory": self.spec.directory, "script": self.script}
        with (Path(self.run_dir) / "functions.log").open("ab") as log:  # noqa: ASYNC230 - opened once a worker
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from ensemble.functions.worker import main; main()",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                cwd=self.spec.directory or None,
            )
        assert self._process.stdin is not None
        body = msgspec.json.encode(setup)
        self._process.stdin.write(len(body).to_bytes(4, "big") + body)
        return self._process

    async def _answer(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None
        size = int.from_bytes(await process.stdout.readexactly(4), "big")
        if size > ANSWER_LIMIT:
            await self._kill()
            return {"error": f"an answer of {size} bytes", "fault": "nonsense"}
        return msgspec.json.decode(await process.stdout.readexactly(size), type=dict[str, Any])

    async def _kill(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return await process.wait()

    async def close(self) -> None:
        """End the worker."""
        await self._kill()


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _not_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_not_finite(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_not_finite(item) for item in value)
    return False
