"""The worker: loads people's code and calls it. Runs in a process of its own; nothing here is trusted to return."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec


class Action(dict[str, Any]):
    """An action to be returned: `Action({"name": "submit", "label": "echo"})` or `Action(name="submit", label="echo")`."""


class Rule(dict[str, Any]):
    """A rule to be returned, written as in the file."""


class Metrics(dict[str, Any]):
    """The metrics at the time of the call: `metrics["mean"]["sleep"]["duration"]`, `metrics.mean["sleep"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _stand_ins() -> None:
    """Let code written for ensemble-python import its `Action` and `Rule` by their old place."""
    for name in ("ensemble.config", "ensemble.config.types"):
        module = types.ModuleType(name)
        module.Action, module.Rule = Action, Rule  # type: ignore[attr-defined]
        sys.modules[name] = module


class Code:
    """The functions there are, each loaded when it is first called."""

    def __init__(self, custom: str, directory: str, script: str) -> None:
        self.custom, self.directory, self.script = custom, directory, script
        self._spaces: dict[str, dict[str, Any]] = {}

    def find(self, name: str) -> Callable[..., Any]:
        """The function of that name: `module:name`, one of the `custom` code, or one of the script."""
        if ":" in name:
            module, _, function = name.partition(":")
            return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
        for space in (self._custom, self._script):
            found = space().get(name)
            if found is not None:
                return getattr(found, "function", found)  # type: ignore[no-any-return]
        raise NameError(f"no function is called {name!r}")

    def _custom(self) -> dict[str, Any]:
        if not self.custom:
            return {}
        if "custom" not in self._spaces:
            space: dict[str, Any] = {"Action": Action, "Rule": Rule, "__name__": "custom"}
            source, origin = self.custom, "custom"
            if source.endswith(".py") and "\n" not in source:
                path = Path(self.directory) / source
                source, origin = path.read_text(), str(path)
            exec(compile(source, origin, "exec"), space)  # noqa: S102 - this is what the process is for
            self._spaces["custom"] = space
        return self._spaces["custom"]

    def _script(self) -> dict[str, Any]:
        if not self.script:
            return {}
        if "script" not in self._spaces:
            spec = importlib.util.spec_from_file_location("ensemble_script", self.script)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules["ensemble_script"] = module
            spec.loader.exec_module(module)
            self._spaces["script"] = vars(module)
        return self._spaces["script"]


def call(code: Code, function: str, args: dict[str, Any]) -> dict[str, Any]:
    """Call one function; return `results`, or `error`, `fault` and `detail`."""
    try:
        found = code.find(function)
        values = {
            **args,
            "metrics": Metrics(args.get("metrics") or {}),
            "options": (args.get("action") or {}).get("options", {}),
        }
        result = found(**_accepted(found, values))
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        return {
            "error": f"{type(error).__name__}: {error}",
            "fault": "raised",
            "detail": traceback.format_exc()[-8000:],
        }
    if result is None:
        return {"results": []}
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    return {"results": [_plain(item) for item in results if item is not None]}


def _plain(item: Any) -> Any:
    to_plain = getattr(item, "to_plain", None)
    return to_plain() if callable(to_plain) else item


def _accepted(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return values
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in values.items() if name in names}


def _read(stream: BinaryIO) -> dict[str, Any] | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return msgspec.json.decode(stream.read(int.from_bytes(head, "big")), type=dict[str, Any])


def main() -> None:
    """Answer calls until the other side is gone."""
    source = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what functions print must not stand between answers
    _stand_ins()
    setup = _read(source)
    if setup is None:
        return
    sys.path.insert(0, setup["directory"] or os.getcwd())
    code = Code(**setup)
    while (request := _read(source)) is not None:
        answer = call(code, request["function"], request["args"])
        try:
            body = msgspec.json.encode(answer)
        except (TypeError, ValueError) as error:
            body = msgspec.json.encode({"error": f"what it returned is not plain data: {error}", "fault": "nonsense"})
        answers.write(len(body).to_bytes(4, "big") + body)
        answers.flush()


if __name__ == "__main__":
    main()
