"""Finding the functions: in inline source, in a `.py` file, in a module, in the script that built the ensemble."""

from __future__ import annotations

__all__ = ["GIVEN", "Code", "Missing", "ScriptRuns", "accepted", "in_function_worker", "problem_with", "taken"]

import difflib
import importlib
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ensemble.functions.shapes import Action, Rule

GIVEN: Final = ("job", "metrics", "points", "event", "rule", "action", "options", "parameters", "binding", "now")
"""What a function is called with, by name."""

_INLINE: Final = "<custom>"


class Missing(Exception):
    """There is no such function. The text is a complete message."""


class ScriptRuns(BaseException):
    """Raised where a script that is loaded for its functions would start a run: what it defined so far is enough.

    No `Exception`, so that no `except` of the script takes it for a fault of the run.
    """


_loading_script = False


def in_function_worker() -> bool:
    """Whether a script is being loaded for its functions, and must not start anything."""
    return _loading_script


class Code:
    """People's code, loaded once."""

    def __init__(self, custom: str, directory: str, script: str) -> None:
        """`custom` is inline source or the path of a `.py` file, relative to `directory`."""
        self.custom, self.directory, self.script = custom, directory, script
        self._custom: dict[str, Any] | None = None
        self._script: dict[str, Any] | None = None
        _stand_ins()

    def load(self) -> None:
        """Load the `custom` code now. Raises whatever it raises."""
        if self._custom is None:
            self._custom = self._load_custom()

    def find(self, name: str) -> Callable[..., Any]:
        """Return the function: `module:name`, one of the `custom` code, or one of the script. Raises `Missing`."""
        if ":" in name:
            module, _, function = name.partition(":")
            found = getattr(importlib.import_module(module), function, None)
            if not callable(found):
                raise Missing(f"module {module} has no function {function!r}")
            return found  # type: ignore[no-any-return]
        self.load()
        assert self._custom is not None
        found = self._custom.get(name)
        if found is None and self.script:
            if self._script is None:
                self._script = self._load_script()
            found = self._script.get(name)
        if found is None:
            raise Missing(f"no function is called {name!r}{self._meant(name)}")
        # a decorated function of the Python API carries the bare one
        found = getattr(found, "function", found)
        if not callable(found):
            raise Missing(f"{name!r} is not a function; it is of type {type(found).__name__}")
        return found  # type: ignore[no-any-return]

    def _meant(self, name: str) -> str:
        names = [
            known
            for space in (self._custom, self._script)
            for known, value in (space or {}).items()
            if callable(value) and not known.startswith("_") and value not in (Action, Rule)
        ]
        if not names:
            return "; there is no custom code" if not (self.custom or self.script) else "; the code has no functions"
        close = difflib.get_close_matches(name, names, 1)
        return f"; did you mean {close[0]!r}?" if close else f"; the functions are {', '.join(names[:20])}"

    def _load_custom(self) -> dict[str, Any]:
        if not self.custom:
            return {}
        source, origin = self.custom, _INLINE
        if source.strip().endswith(".py") and "\n" not in source.strip():
            path = Path(self.directory) / source.strip()
            source, origin = path.read_text(encoding="utf-8"), str(path)
        else:
            # so that a traceback shows the line
            linecache.cache[_INLINE] = (len(source), None, source.splitlines(keepends=True), _INLINE)
        # a real module: dataclasses, pickle and typing look theirs up by name
        module = types.ModuleType("ensemble_custom")
        module.__file__ = origin
        vars(module).update(Action=Action, Rule=Rule)
        sys.modules["ensemble_custom"] = module
        exec(compile(source, origin, "exec"), vars(module))  # noqa: S102 - this is what the process is for
        return vars(module)

    def _load_script(self) -> dict[str, Any]:
        # compiled from its text each time: a cached `.pyc` is taken for current when text of the same length was
        # written in the same second
        source = Path(self.script).read_bytes()
        module = types.ModuleType("ensemble_script")
        module.__file__ = self.script
        sys.modules["ensemble_script"] = module
        global _loading_script
        _loading_script = True
        try:
            exec(compile(source, self.script, "exec"), vars(module))  # noqa: S102 - as above
        except ScriptRuns:
            pass
        finally:
            _loading_script = False
        return vars(module)


def _stand_ins() -> None:
    """Let code written for ensemble-python import `Action` and `Rule` from where they are there."""
    import ensemble

    config, kinds = types.ModuleType("ensemble.config"), types.ModuleType("ensemble.config.types")
    kinds.Action, kinds.Rule = Action, Rule  # type: ignore[attr-defined]
    config.types = kinds  # type: ignore[attr-defined]
    ensemble.config = config
    sys.modules.update({"ensemble.config": config, "ensemble.config.types": kinds})


def accepted(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `values` that the function takes."""
    parameters = _parameters(function)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(values)
    names = [parameter.name for parameter in parameters]
    return {name: value for name, value in values.items() if name in names}


def taken(function: Callable[..., Any]) -> list[str] | None:
    """Return which of the given values the function names; None when it takes all of them."""
    parameters = _parameters(function)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    names = [parameter.name for parameter in parameters if parameter.name in GIVEN]
    if "metrics" in names and "points" not in names and _mentions(getattr(function, "__code__", None), "points"):
        # `metrics["points"]` was how points were reached in version 0.1
        names.append("points")
    return names


def _mentions(code: types.CodeType | None, word: str) -> bool:
    if code is None:
        return False
    inner = (_mentions(one, word) for one in code.co_consts if isinstance(one, types.CodeType))
    return word in code.co_names or word in code.co_consts or any(inner)


def problem_with(function: Callable[..., Any]) -> str:
    """Return why the function cannot be called with the given values; empty when it can."""
    for parameter in _parameters(function):
        needed = parameter.default is parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY and needed:
            return f"its parameter {parameter.name!r} cannot be given by name"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if needed and parameter.name not in GIVEN:
            return f"it needs {parameter.name!r}; a function is given {', '.join(GIVEN)}"
    return ""


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
