"""The table of actions: what each is called, which keys it takes in a file and what it may do.

An action is written once, as one object in `ensemble.engine.actions` or in another package that registers it here.
The reader, the checks, the JSON Schema, the reference and the engine all read this table.
"""

from __future__ import annotations

__all__ = ["ActionCheck", "ActionType", "action_names", "actions", "find_action", "register_action", "traits"]

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final

from ensemble.spec.convert import Converter, nearest
from ensemble.spec.model import ActionSpec
from ensemble.spec.nodes import Place
from ensemble.spec.outline import Outline

_BUILTIN: Final = "ensemble.engine.actions"
"""The module that registers our own actions when it is imported. It is loaded like those of other packages."""

_ENTRY_POINTS: Final = "ensemble.actions"

_COMMON: Final = ("name", "repetitions", "backoff", "cooldown")
"""Keys that every action takes: they say how often its rule fires."""


class ActionCheck:
    """What an action's own check may look at, and how it reports a problem.

    `groups` are the entries of each group by its name, and `members` the names of the members. `functions` returns the
    names that `custom` defines, or None when these are not known. `algorithm` checks the name and options of an
    algorithm.
    """

    def __init__(
        self,
        reader: Converter,
        outline: Outline,
        where: str,
        functions: Callable[[], list[str] | None],
        algorithm: Callable[[ActionSpec], None],
    ) -> None:
        self.spec = outline.spec
        self.groups = outline.groups
        self.members = outline.members
        self.functions = functions
        self.algorithm = algorithm
        self._reader = reader
        self._where = where

    def complain(self, message: str, key: str = "", hint: str = "") -> None:
        """Report a problem with the value of `key`, or with the action as a whole."""
        where = f"{self._where}.{key}" if key else self._where
        self._reader.complain(self.place(key or "label", "name"), where, message, hint)

    def place(self, *keys: str) -> Place:
        """Where in the file the first of these keys that was given stands, else where the action does."""
        places = self._reader.places
        for key in keys:
            if f"{self._where}.{key}" in places:
                return places[f"{self._where}.{key}"]
        return places.get(self._where, Place())

    def group(self, name: str) -> bool:
        """Whether there is a group of this name; reported in `label` when there is none."""
        if name in self.groups:
            return True
        self.complain(f"there is no group {name!r}", "label", nearest(name, self.groups))
        return False

    def whole(self, action: ActionSpec, what: str) -> None:
        """Report a `value` that is no whole number."""
        if action.value is not None and action.value != int(action.value):
            self.complain(f"{action.value} is not a number of {what}", "value")


def _no_check(check: ActionCheck, action: ActionSpec) -> None:
    """Most actions have nothing to check beyond their keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionType:
    """One action, as far as a file is concerned. The engine's `Action` adds what it does.

    `name` is its name in a file and `meaning` its sentence in the reference, in Markdown. `keys` are the keys that it
    takes beside those that every action takes. `older` are further names for it. `check` reports what is wrong with
    one use of it. `in_file`: whether a file may name it, or only a packaged algorithm.
    """

    name: str
    meaning: str
    keys: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    check: Callable[[ActionCheck, ActionSpec], None] = _no_check
    in_file: bool = True
    while_draining: bool = False
    """Whether it may still run when nothing new is to start."""
    submits: bool = False
    """Whether it submits jobs."""
    resizes: bool = False
    """Whether it changes the size of a member."""
    grows: bool = False
    """Whether it may make a member larger."""
    ends: bool = False
    """Whether it ends the run or a member."""
    open_ended: bool = False
    """Whether it may come to any other action, so that nothing can be said of it beforehand."""

    def problems(self, check: ActionCheck, action: ActionSpec) -> None:
        """Report every problem of one use of it in a file."""
        for key, default in _DEFAULTS.items():
            if key not in self.keys and getattr(action, key) != default:
                takes = ", ".join(f"`{one}`" for one in self.keys) or "no key of its own"
                check.complain(f"{self.name} takes no `{key}`", key, f"It takes {takes}.")
        if action.member and action.member not in check.members:
            check.complain(f"there is no member {action.member!r}", "member", nearest(action.member, check.members))
        self.check(check, action)


_DEFAULTS: Final = {
    field: default
    for field, default in ((field, getattr(ActionSpec(name=""), field)) for field in ActionSpec.__struct_fields__)
    if field not in _COMMON and field != "points"
}
"""The keys that only some actions take, each with the value that means that it was not given."""

_table: Final[dict[str, ActionType]] = {}


def register_action(action: ActionType) -> None:
    """Add an action to the table. Raises `ValueError` when its name is taken or it takes a key that no action has."""
    for name in (action.name, *action.older):
        if name in _table:
            raise ValueError(f"there is an action {name!r} already")
    unknown = [key for key in action.keys if key not in _DEFAULTS]
    if unknown:
        raise ValueError(f"action {action.name!r}: an action has no key {unknown[0]!r}, only {', '.join(_DEFAULTS)}")
    _table[action.name] = action
    _table.update(dict.fromkeys(action.older, action))


@cache
def _load() -> None:
    """Import what registers actions: ours, then those of other packages (entry points `ensemble.actions`).

    One of another package that does not load is left out, so that only the files that name it suffer.
    """
    importlib.import_module(_BUILTIN)
    for entry in entry_points(group=_ENTRY_POINTS):
        try:
            loaded = entry.load()
        except Exception:  # noqa: S112
            continue
        if isinstance(loaded, ActionType) and loaded.name not in _table:
            register_action(loaded)


def actions() -> Mapping[str, ActionType]:
    """Every action by its name and its older names, in the order in which they were registered."""
    _load()
    return MappingProxyType(_table)


def find_action(name: str) -> ActionType | None:
    """The action of this name; None when there is none."""
    return _table.get(name) or actions().get(name)


def action_names() -> tuple[str, ...]:
    """The names that a file may use, older ones included."""
    return tuple(name for name, action in actions().items() if action.in_file)


def traits(action: ActionSpec) -> ActionType:
    """What is known of an action: of one that nobody has registered, that it does nothing special."""
    return find_action(action.name) or ActionType(name=action.name, meaning="")
