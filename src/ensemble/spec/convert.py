"""From a tree to the structs of `spec.model`, by their keys: every problem is collected, none hides another."""

from __future__ import annotations

__all__ = ["Converter"]

import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from ensemble.model.errors import InputError, Problem
from ensemble.model.jobs import Scalar
from ensemble.spec.keys import keys_of, words_of
from ensemble.spec.model import RuleSpec
from ensemble.spec.nodes import Place, Tree

LARGEST: Final = 10**9
"""The largest count anything here may have."""

SYNONYMS: Final = {
    "mpirun": "mpiexec",
    "orterun": "mpiexec",
    "average": "mean",
    "avg": "mean",
    "shuffle": "random",
    "shuffled": "random",
    "randomized": "random",
    "always": "all",
    "never": "none",
    "kill": "cancel",
    "abort": "cancel",
    "timeout": "walltime",
    "killed": "signal",
}
"""What other tools call our words: too far apart in letters to be found by spelling."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Failed(Exception):
    """A value could not be converted; why is among the problems already."""


class Converter:
    """Reads trees by the keys of a struct, collecting problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.places: dict[str, Place] = {}
        """Where each converted value stands, by its path in the file."""
        self.added: dict[str, RuleSpec] = {}
        """Rules that `add-rule` actions hold, by their path in the file."""

    def complain(self, tree: Tree | Place, where: str, message: str, hint: str = "") -> None:
        """Note a problem."""
        place = tree.place if isinstance(tree, Tree) else tree
        self.problems.append(Problem(message, place.file, place.line, place.column, where, hint))

    def struct(self, tree: Tree, struct: type, where: str) -> dict[str, Any]:
        """Return the fields of a struct that a mapping gives, noting every problem with them.

        Raises `Failed` when one that must be there is missing or wrong.
        """
        if not isinstance(tree.value, dict):
            self.complain(tree, where, f"{tree.kind} where a mapping was expected")
            raise Failed
        keys, known = keys_of(struct), words_of(struct)
        found: dict[str, Any] = {}
        meant: set[str] = set()
        for word, (word_tree, value) in tree.value.items():
            key = known.get(word)
            if key is None:
                hint = nearest(word, sorted(known))
                meant.add(hint.removeprefix("Did you mean ").rstrip("?"))
                if not hint.startswith("Did you mean"):
                    hint = self.elsewhere(word) or hint
                self.complain(word_tree, where, f"{word!r} is not a key here", hint)
                continue
            if key.field in found:
                other = next(one for one in (key.name, *key.aliases) if one != word)
                self.complain(word_tree, where, f"{word!r} is another word for {other!r}, which is set too")
                continue
            inner = f"{where}.{word}" if where else word
            self.places[inner] = value.place
            with suppress(Failed):
                found[key.field] = key.shape.read(self, value, inner)
        missing = [key for key in keys if key.required and key.field not in found]
        for key in missing:
            # what is there but wrong or misspelt has its message already
            if key.name not in meant and not any(word in tree.value for word in (key.name, *key.aliases)):
                self.complain(tree, where, f"{key.name!r} is missing")
        if missing:
            raise Failed
        return found

    def elsewhere(self, key: str) -> str:
        """Where a key that is not one here belongs; empty when nowhere."""
        return ""

    def items(self, tree: Tree, item: Callable[[Tree, str], Any], where: str) -> list[Any]:
        """A list, or a single value that stands for a list of one."""
        if isinstance(tree.value, dict):
            self.complain(tree, where, "a mapping where a list was expected", "Did you forget the `- ` before it?")
            raise Failed
        trees = tree.value if isinstance(tree.value, list) else ([] if tree.value is None else [tree])
        found = []
        failed = False
        for index, one in enumerate(trees):
            try:
                found.append(item(one, f"{where}[{index}]"))
            except Failed:
                failed = True
        if failed:
            raise Failed
        return found

    def mapping(self, tree: Tree, where: str, read: Callable[[Tree, str], Any]) -> dict[str, Any]:
        """A mapping from names to values that are all read alike."""
        if tree.value is None:
            return {}
        if not isinstance(tree.value, dict):
            self.complain(tree, where, f"{tree.kind} where a mapping was expected")
            raise Failed
        found = {}
        for key, (_, value) in tree.value.items():
            self.places[f"{where}.{key}"] = value.place
            found[key] = read(value, f"{where}.{key}")
        return found

    def text(self, tree: Tree, where: str) -> str:
        """Text; a number or truth value is taken as it was written."""
        if isinstance(tree.value, (dict, list)):
            self.complain(tree, where, f"{tree.kind} where text was expected")
            raise Failed
        if tree.value is None and not tree.quoted:
            self.complain(tree, where, "the value is missing; text was expected")
            raise Failed
        return tree.raw

    def name(self, tree: Tree, where: str) -> str:
        """A name that can stand in keys, paths and metric expressions."""
        text = self.text(tree, where)
        if not _NAME.fullmatch(text) or "." in text or len(text) > 100:
            self.complain(tree, where, f"{text!r} cannot be a name", "Names are letters, digits, `_` and `-`.")
            raise Failed
        return text

    def boolean(self, tree: Tree, where: str) -> bool:
        """True or false."""
        if not isinstance(tree.value, bool):
            hint = " Write true or false." if tree.raw.lower() in ("yes", "no", "on", "off") else ""
            self.complain(tree, where, f"{tree.kind} where true or false was expected", hint.strip())
            raise Failed
        return tree.value

    def number(self, tree: Tree, where: str) -> float:
        """A finite number."""
        value = tree.value
        if isinstance(value, str):
            value = _spelled(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.complain(tree, where, f"{tree.kind} where a number was expected")
            raise Failed
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.complain(tree, where, f"{tree.raw} is not a finite number")
            raise Failed
        return number

    def whole(self, tree: Tree, where: str, least: int | None = None) -> int:
        """A whole number, not below `least`, not above `LARGEST` where `least` is given."""
        value = tree.value
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.complain(tree, where, f"{tree.kind} where a whole number was expected")
            raise Failed
        if least is not None and value < least:
            words = {0: "0 or more", 1: "1 or more"}.get(least, f"{least} or more")
            self.complain(tree, where, f"{value} is too small: it must be {words}")
            raise Failed
        if least is not None and value > LARGEST:
            shown = tree.raw if len(tree.raw) < 40 else f"a number of {len(tree.raw)} digits"
            self.complain(tree, where, f"{shown} is too large: at most {LARGEST:,}")
            raise Failed
        return value

    def choice(self, tree: Tree, where: str, choices: tuple[str, ...], what: str) -> str:
        """One of a few words."""
        text = self.text(tree, where)
        if text not in choices:
            meant = SYNONYMS.get(text.lower(), "")
            hint = f"Did you mean {meant}?" if meant in choices else nearest(text, choices)
            self.complain(tree, where, f"{text!r} is not {_a(what)}", hint or f"There are {', '.join(choices)}.")
            raise Failed
        return text

    def choices(self, tree: Tree, where: str, choices: tuple[str, ...], what: str) -> tuple[str, ...]:
        """Some of a few words."""
        return tuple(self.items(tree, lambda one, inner: self.choice(one, inner, choices, what), where))

    def text_by_name(self, tree: Tree, where: str) -> dict[str, str]:
        """A mapping from names to texts."""
        return self.mapping(tree, where, self.text)

    def scalar_by_name(self, tree: Tree, where: str) -> dict[str, Scalar]:
        """A mapping from names to single values."""
        return self.mapping(tree, where, self.scalar)

    def anything_by_name(self, tree: Tree, where: str) -> dict[str, Any]:
        """A mapping from names to anything that is plain data."""
        return self.mapping(tree, where, self.plain)

    def scalar(self, tree: Tree, where: str) -> Scalar:
        """A single value that keeps its type."""
        if isinstance(tree.value, (dict, list)) or tree.value is None:
            self.complain(tree, where, f"{tree.kind} where text, a number, true or false was expected")
            raise Failed
        return self.number(tree, where) if isinstance(tree.value, float) else cast(Scalar, tree.value)

    def plain(self, tree: Tree, where: str) -> Any:
        """Any plain data, but no number that is not finite."""
        for one, place in _leaves(tree, where):
            if isinstance(one.value, float) and not math.isfinite(one.value):
                self.complain(one, place, f"{one.raw} is not a finite number")
                raise Failed
        return tree.plain()

    def attempt(self, tree: Tree, where: str, work: Callable[[], Any]) -> Any:
        """Do something that may raise `InputError`, which becomes a problem at this place."""
        try:
            return work()
        except InputError as error:
            # the place says already which key it is
            self.complain(tree, where, str(error).removeprefix(f"{where.rpartition('.')[2]}: "))
            raise Failed from None


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _leaves(tree: Tree, where: str) -> list[tuple[Tree, str]]:
    if isinstance(tree.value, dict):
        return [leaf for key, (_, value) in tree.value.items() for leaf in _leaves(value, f"{where}.{key}")]
    if isinstance(tree.value, list):
        return [leaf for index, value in enumerate(tree.value) for leaf in _leaves(value, f"{where}[{index}]")]
    return [(tree, where)]


def _spelled(text: str) -> Any:
    try:
        return float(text) if text.strip().lower() not in ("nan", "inf", "-inf", "infinity") else text
    except ValueError:
        return text


def nearest(word: str, choices: Any) -> str:
    """`Did you mean ...?` for the nearest of `choices`, else which there are (when few), else nothing."""
    from difflib import get_close_matches

    names = [str(choice) for choice in choices]
    close = get_close_matches(word, names, 1, 0.6)
    if close:
        return f"Did you mean {close[0]}?"
    if names and len(names) <= 30:
        return f"Known: {', '.join(names)}."
    return ""
