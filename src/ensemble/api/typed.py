"""Functions that were typed in, in a notebook or at a prompt: their source, with what they use of the session."""

from __future__ import annotations

__all__ = ["source_of"]

import ast
import dis
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

from ensemble.api.plain import is_group
from ensemble.model.errors import InputError


def source_of(function: Callable[..., Any]) -> str:
    """Source text that defines a function of `__main__` in another process.

    With it come the modules, groups, plain values, importable objects and other typed-in functions that it names.
    Raises `InputError` when the source is not known, or when it names something that cannot be sent.
    """
    parts: dict[str, str] = {}
    _define(function.__name__, function, function.__name__, parts)
    return "\n\n".join(parts.values()) + "\n"


def _define(name: str, value: Any, function: str, parts: dict[str, str]) -> None:
    """Add what defines a name, after what that needs itself."""
    if name in parts:
        return
    if isinstance(value, types.FunctionType) and value.__module__ == "__main__":
        text, signature = _parsed(value)
        parts[name] = ""  # it may call itself
        for used in (*_globals(value.__code__), *signature):
            if used in value.__globals__:
                _define(used, value.__globals__[used], value.__name__, parts)
        # at the end, for its defaults may use the others
        del parts[name]
        parts[name] = text
    elif isinstance(value, types.ModuleType):
        parts[name] = f"import {value.__name__} as {name}"
    elif is_group(value):
        parts[name] = f"from ensemble import Group\n{name} = Group({str(value)!r})"
    elif value is None or isinstance(value, (bool, int, float, str)):
        parts[name] = f"{name} = {value!r}"
    elif getattr(value, "__module__", "__main__") != "__main__" and hasattr(value, "__qualname__"):
        parts[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
    else:
        raise InputError(
            f"{function} was typed in and uses {name!r}, of type {type(value).__name__}, which cannot be sent to the "
            "process that calls it. Put the function into a module and import it"
        )


def _parsed(function: types.FunctionType) -> tuple[str, list[str]]:
    """The source of a function without its decorators (those are the session's), and the names in its signature."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        definition = ast.parse(source).body[0]
        assert isinstance(definition, ast.FunctionDef)
    except (OSError, TypeError, SyntaxError, IndexError, AssertionError):
        raise InputError(
            f"{function.__name__} was typed in and is in no file, and its source is not known here; a rule's function "
            "is called in another process. Put it into a module and import it"
        ) from None
    signature = [definition.args, *([definition.returns] if definition.returns is not None else [])]
    used = [node.id for part in signature for node in ast.walk(part) if isinstance(node, ast.Name)]
    return "\n".join(source.splitlines()[definition.lineno - 1 :]), used


def _globals(code: types.CodeType) -> Iterator[str]:
    for one in dis.get_instructions(code):
        if one.opname == "LOAD_GLOBAL":
            yield str(one.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)
