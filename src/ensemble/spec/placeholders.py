"""Placeholders in the texts of a job: `{T}`, `{N * 32}`, `{T:.3f}`.

A brace is a placeholder only where its inside, on one line, is arithmetic over names that this job has, with at
least one of them. Everything else stays: `${HOME}` (also `${T}`: a brace after `$` is the shell's), `awk '{print $1}'`,
JSON, `{1,2}`. A value is written as it was given: 1 is `1` and 1.0 is `1.0`, true is `true`. Arithmetic of ints is an
int, but `/` never is: `{N / 2}` of 4 is `2.0`, `{N // 2}` is `2`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from ensemble.model.errors import ExpressionError, InputError
from ensemble.model.jobs import Scalar
from ensemble.spec.expressions import Expr, Formula, Name, is_condition, names, nearest, parse, paths
from ensemble.spec.tree import RESERVED

__all__ = ["JOB_NAMES", "Suspicion", "Template", "compile_template", "compile_words", "shell_syntax", "suspicious"]

JOB_NAMES: Final = ("run", "key", "attempt", "seed", "parent")
"""Names that every job has besides its axes. `run` is the run's directory, `parent` that of the job that caused it."""

_MOST: Final = 500
"""Characters between braces beyond which nobody looks for a placeholder."""
_BRACE = re.compile(r"(?<!\$)\{([^{}\n]*)\}")
# Nothing that begins with a space: `{T: 300}` is a mapping in somebody's YAML.
_FORMAT = re.compile(r"(?! )(?:[^{}\n]?[<>=^])?[-+]?#?0?[0-9]{0,3}[,_]?(?:\.[0-9]{1,2})?[bdeEfFgGosxX%]?")
_WHOLE_TYPES: Final = "bdoxX"
_QUOTING = re.compile(r"""['"\\]""")
_BLANKS = re.compile(r"[ \t\r\n]+")
# Private-use characters stand for placeholders while the shell's quoting is taken apart.
_OPEN, _CLOSE = "\ue000", "\ue001"
_STAND_IN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class _Slot:
    """One placeholder: what stands between the braces, compiled."""

    __slots__ = ("formula", "name", "names", "spec", "text")

    def __init__(self, text: str, expr: Expr, spec: str) -> None:
        self.text, self.spec = text, spec
        self.names = names(expr)
        self.name = expr.name if isinstance(expr, Name) else ""
        self.formula = None if self.name else Formula(expr)

    def value(self, values: Mapping[str, Scalar]) -> Scalar:
        if self.name:
            try:
                return values[self.name]
            except KeyError:
                raise ExpressionError(f"{self.text} has no value: {self.name!r} is not given") from None
        value = self.formula.value(values) if self.formula is not None else None
        if value is None:
            given = ", ".join(f"{name} = {values.get(name, 'nothing')}" for name in self.names)
            raise ExpressionError(f"{self.text} has no value with {given}")
        return value

    def fill(self, values: Mapping[str, Scalar]) -> str:
        value = self.value(values)
        if isinstance(value, str):
            return self._formatted(value) if self.spec else str(value)
        if self.spec:
            return self._formatted(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        return repr(value)

    def _formatted(self, value: Scalar) -> str:
        if isinstance(value, float) and value.is_integer() and self.spec[-1] in _WHOLE_TYPES:
            value = int(value)
        try:
            return format(value, self.spec)
        except (ValueError, OverflowError) as error:
            raise ExpressionError(f"{self.text} cannot show {value!r}: {error}") from None


class Template:
    """A text with its placeholders found: literals and slots in turn, beginning and ending with a literal."""

    __slots__ = ("_literals", "_slots", "names", "text")

    def __init__(self, literals: tuple[str, ...], slots: tuple[_Slot, ...]) -> None:
        self._literals, self._slots = literals, slots
        self.names = tuple(dict.fromkeys(name for slot in slots for name in slot.names)) if slots else ()
        """The names it reads, in order of appearance."""
        rest = (slot.text + after for slot, after in zip(slots, literals[1:], strict=True)) if slots else ()
        self.text = literals[0] + "".join(rest)
        """The text it was made of."""

    def fill(self, values: Mapping[str, Scalar]) -> str:
        """The text with each placeholder's value.

        Raises `ExpressionError` when a placeholder has none: a name not in `values`, a division by zero, arithmetic
        on text, a format that does not suit the value.
        """
        if not self._slots:
            return self._literals[0]
        pieces = [self._literals[0]]
        for slot, after in zip(self._slots, self._literals[1:], strict=True):
            pieces.append(slot.fill(values))
            pieces.append(after)
        return "".join(pieces)

    def value(self, values: Mapping[str, Scalar]) -> Scalar:
        """The value itself where the text is one placeholder and nothing else, otherwise the filled text."""
        if len(self._slots) == 1 and not self._slots[0].spec and self._literals == ("", ""):
            return self._slots[0].value(values)
        return self.fill(values)


def compile_template(text: str, names: Collection[str]) -> Template:
    """Find the placeholders of a text, once for any number of jobs. `names` are all those a placeholder may use."""
    if "{" not in text:
        return Template((text,), ())
    return _compiled(text, tuple(names))


@lru_cache(1024)
def _compiled(text: str, names: tuple[str, ...]) -> Template:
    """Most texts of most groups are the defaults, so what was compiled is kept."""
    literals, slots = [], []
    at = 0
    for start, end, slot in _placeholders(text, names):
        literals.append(text[at:start])
        slots.append(slot)
        at = end
    return Template((*literals, text[at:]), tuple(slots))


def compile_words(text: str, names: Collection[str]) -> tuple[Template, ...]:
    """Split a command by POSIX quoting, then find the placeholders: a value with spaces stays one argument.

    Raises `InputError` for a quote that is never closed.
    """
    slots: list[_Slot] = []
    pieces, at = [], 0
    for start, end, slot in _placeholders(text, names):
        pieces.append(text[at:start])
        pieces.append(f"{_OPEN}{len(slots)}{_CLOSE}")
        slots.append(slot)
        at = end
    pieces.append(text[at:])
    if _OPEN in text or _CLOSE in text:
        raise InputError("the command holds a character of the private-use area (U+E000 or U+E001)")
    whole = "".join(pieces)
    try:
        # shlex looks at each character in Python, which only quotes are worth
        words = shlex.split(whole) if _QUOTING.search(whole) else [word for word in _BLANKS.split(whole) if word]
    except ValueError as error:
        raise InputError(f"the command cannot be split into words: {str(error).lower()}") from None
    return tuple(_word(word, slots) for word in words)


def _word(word: str, slots: list[_Slot]) -> Template:
    if not slots:
        return Template((word,), ())
    pieces = _STAND_IN.split(word)
    return Template(tuple(pieces[::2]), tuple(slots[int(index)] for index in pieces[1::2]))


def _placeholders(text: str, known: Collection[str]) -> Iterator[tuple[int, int, _Slot]]:
    for match in _BRACE.finditer(text):
        found = _inside(match[1], lambda used: all(name in known for name in used))
        if found is not None:
            yield match.start(), match.end(), _Slot(match[0], *found)


def _inside(inside: str, accept: Callable[[tuple[str, ...]], bool]) -> tuple[Expr, str] | None:
    """The expression and format of what stands between braces, when it is arithmetic over acceptable names."""
    if inside.isidentifier() and inside.isascii() and inside not in RESERVED:
        # nearly every placeholder is one name: it needs no parser
        return (Name(inside), "") if accept((inside,)) else None
    text, colon, spec = inside.partition(":")
    if len(inside) > _MOST or (colon and not spec) or not _FORMAT.fullmatch(spec):
        return None
    try:
        expr = parse(text)
    except ExpressionError:
        return None
    used = names(expr)
    if not used or paths(expr) or is_condition(expr) or not accept(used):
        return None
    return expr, spec


class Suspicion(NamedTuple):
    """A brace that looks like a placeholder with a misspelt name."""

    text: str
    name: str
    meant: str


def suspicious(text: str, axes: Collection[str]) -> tuple[Suspicion, ...]:
    """Braces that stay as they are but hold a name close to an axis or one of `JOB_NAMES`, for a warning."""
    if "{" not in text:
        return ()
    known = (*axes, *JOB_NAMES)
    found: dict[Suspicion, None] = {}
    for match in _BRACE.finditer(text):
        inside = _inside(match[1], lambda _used: True)
        for name in names(inside[0]) if inside else ():
            if name not in known and (meant := _meant(name, known)):
                found[Suspicion(match[0], name, meant)] = None
    return tuple(found)


def _meant(name: str, known: tuple[str, ...]) -> str:
    word = name.casefold()
    for choice in known:
        if choice.casefold() == word or (len(word) > 1 and choice.casefold().startswith(word)):
            return choice
    return nearest(name, known)


_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SPECIAL = re.compile(r"[|<>;&$`*~=]")
_SYNTAX = re.compile(
    r"""
      \\. | '[^']*'                                     # escaped and single-quoted text stands for itself
    | "(?P<double>(?:\\.|[^"\\])*)"
    | (?P<operator> &&|\|\||>>|<<|2>&1|[|<>;&] )
    | (?P<expansion> \$\(\(?|\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|`|(?<!\S)~(?=/|\s|$) )
    | (?P<glob> (?<!\S)[^\s'"|<>;&]*\*[^\s'"|<>;&]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_DOUBLE_QUOTES = re.compile(r"(?<!\\)(?:\$\(\(?|\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|`)")


def shell_syntax(command: str, names: Collection[str]) -> tuple[str, ...]:
    """Return what only a shell understands in a one-line command: each thing once, in the order of the line.

    That is a pipe, a redirection, `;`, `&`, a variable, a command in backticks, a pattern of file names, `~`, or an
    assignment before the program. What is in quotes stands for itself, except for variables in double quotes; these too
    where the quoted text is a program of its own (`sh -c "..."`, `perl -e "..."`).
    """
    if not _SPECIAL.search(command):
        return ()
    pieces, at = [], 0
    for start, end, _ in _placeholders(command, names):
        pieces += [command[at:start], "0"]
        at = end
    text = "".join((*pieces, command[at:])).strip()
    assigned = _ASSIGNMENT.match(text)
    found = [assigned[0]] if assigned else []
    for match in _SYNTAX.finditer(text):
        if match["double"] is None:
            found.append(match["operator"] or match["expansion"] or match["glob"] or "")
        elif not re.search(r"(?:^|\s)-\w*[ce]\s*$", text[: match.start()]):
            found += (inner[0] for inner in _IN_DOUBLE_QUOTES.finditer(match["double"]))
    return tuple(dict.fromkeys(filter(None, found)))
