"""The base of every algorithm here: checked options, rules by name of step, steps by method."""

from __future__ import annotations

__all__ = ["Packaged", "Settings", "Turn", "chosen", "draw", "on"]

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from random import Random
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from ensemble.engine.algorithm import GroupView, Outcome, View
from ensemble.model.errors import InputError
from ensemble.spec.model import UNLIMITED, ActionSpec, EnsembleSpec, RuleSpec


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Options of an algorithm. Subclasses add fields, with a default and a description each."""

    groups: Annotated[list[str], Meta(description="Only these groups; empty: all")] = []


S = TypeVar("S", bound=Settings)


class Turn(NamedTuple):
    """What a step is given. `memory` is its own copy, which it may change and hand back."""

    memory: dict[str, Any]
    view: View
    random: Random


Step = Callable[[S, Turn], Outcome]


class Packaged(Generic[S]):
    """An algorithm whose options are a `Settings` and whose steps are methods.

    A subclass sets `name` and `settings`, gives its rules in `plan` and its steps in `steps`.
    """

    name: ClassVar[str]
    settings: type[S]

    def plan(self, options: S, view: View) -> Sequence[RuleSpec]:
        """The rules; `view` shows the ensemble as it is when they join."""
        raise NotImplementedError

    def steps(self) -> Mapping[str, Step[S]]:
        """The steps that the rules name."""
        raise NotImplementedError

    def refine(self, options: S) -> S:
        """Check what takes more than one option to see. Raises `InputError`."""
        return options

    def check(self, options: Mapping[str, Any], spec: EnsembleSpec) -> None:
        """Check validated options against a file, before it is run. Raises `InputError`."""

    def validate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options complete and checked, as plain data.

        Raises `InputError` naming the option, what was found and what was expected, or the nearest valid name.
        """
        names = {field.encode_name: field.name for field in msgspec.structs.fields(self.settings)}
        hints = get_type_hints(self.settings, include_extras=True)
        given: dict[str, Any] = {}
        for key, value in options.items():
            if key not in names:
                raise InputError(f"{self.name}: no option is called {key!r}{_nearest(key, list(names))}")
            given[key] = _checked(self.name, key, value, hints[names[key]])
        plain: dict[str, Any] = msgspec.to_builtins(self.refine(msgspec.convert(given, self.settings)))
        return plain

    def rules(self, options: Mapping[str, Any], view: View) -> Sequence[RuleSpec]:
        """The rules it consists of. Raises `InputError` when `groups` names one that does not exist."""
        settings = msgspec.convert(dict(options), self.settings)
        known = [group.name for group in view.groups()]
        for name in settings.groups:
            if name not in known:
                raise InputError(
                    f"{self.name}: option groups names {name!r}, which is not a group{_nearest(name, known)}"
                )
        return self.plan(settings, view)

    def act(
        self, step: str, options: Mapping[str, Any], memory: Mapping[str, Any], view: View, random: Random
    ) -> Outcome:
        """Take one step. Pure; of `random` only `.random()` is used. Raises `KeyError` for an unknown step."""
        settings = msgspec.convert(dict(options), self.settings)
        return self.steps()[step](settings, Turn(dict(memory), view, random))


def _checked(algorithm: str, key: str, value: Any, hint: Any) -> Any:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if kind is bool and isinstance(value, str) and value.lower() in _WORDS:
        value = _WORDS[value.lower()]  # the older format knows only text and numbers
    if key == "groups" and isinstance(value, str):
        value = [value]
    if get_origin(kind) is Literal and value not in get_args(kind):
        words = [str(word) for word in get_args(kind)]
        found = _nearest(str(value), words) or f"; expected one of: {', '.join(words)}"
        raise InputError(f"{algorithm}: option {key} cannot be {value!r}{found}")
    try:
        return msgspec.to_builtins(msgspec.convert(value, hint))
    except msgspec.ValidationError as error:
        raise InputError(f"{algorithm}: option {key} cannot be {value!r}: {_sentence(error)}") from None


_WORDS = {"yes": True, "no": False, "true": True, "false": False}


def _sentence(error: msgspec.ValidationError) -> str:
    text = str(error).split(" - at `$")[0].replace("`", "")
    return text[0].lower() + text[1:]


def _nearest(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(known)}" if len(known) <= 8 else ""


def on(
    trigger: str,
    step: str,
    *,
    rule: str = "",
    name: str = "",
    when: str | None = None,
    seconds: float = 0.0,
    repetitions: int = UNLIMITED,
) -> RuleSpec:
    """Make the rule that takes `step` on `trigger`; `rule` is its name in explain, by default that of the step."""
    action = ActionSpec(name="algorithm", label=step, repetitions=repetitions)
    return RuleSpec(trigger=trigger, name=name, when=when, seconds=seconds, action=action, id=rule or step)


def chosen(view: View, options: Settings) -> list[GroupView]:
    """The groups an algorithm may submit, in file order."""
    return [group for group in view.groups() if not options.groups or group.name in options.groups]


def draw(random: Random, below: int) -> int:
    """A whole number from 0 to `below` - 1. Other methods of `Random` may change between Pythons, `random()` not."""
    return min(int(random.random() * below), below - 1)
