"""Conditions and arithmetic over metrics: text to tree, tree to closure. Never `eval`.

    condition   a and b, a or b, not a, comparisons == != < <= > >= (one at a time)
    arithmetic  + - * / // % **, abs min max sqrt log exp floor ceil round, parentheses
    values      numbers; metric paths such as mean.melt[T=1.1].pressure; bare names such as duration

A value that is missing, a division by zero, an overflow and a domain error are *unknown* (None), and so is
a comparison with one; `false and unknown` is false, `true or unknown` is true.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, cast

from ensemble.metrics.statistics import STATISTICS
from ensemble.model.errors import ExpressionError
from ensemble.model.jobs import Scalar
from ensemble.spec.evaluation import Formula, compile_expr, constant, evaluate, explain, readings, threshold
from ensemble.spec.tree import (
    ALL_POINTS,
    FUNCTIONS,
    RESERVED,
    Apply,
    Arithmetic,
    ArithmeticOp,
    Compare,
    CompareOp,
    Expr,
    Junction,
    MetricPath,
    Name,
    Negate,
    Not,
    Number,
    binding,
    finite,
    height,
    is_condition,
    is_quantity,
    is_statistic,
    names,
    nearest,
    parts,
    paths,
    quantities,
    render,
    replace_paths,
    resolve_old,
    scalar_of,
)
from ensemble.spec.vocabulary import MEMBER_METRICS

__all__ = [
    "ALL_POINTS",
    "FUNCTIONS",
    "Apply",
    "Arithmetic",
    "Compare",
    "Expr",
    "Formula",
    "Junction",
    "MetricPath",
    "Name",
    "Negate",
    "Not",
    "Number",
    "compile_expr",
    "constant",
    "evaluate",
    "explain",
    "is_condition",
    "is_quantity",
    "is_statistic",
    "names",
    "nearest",
    "parse",
    "parse_condition",
    "parse_path",
    "parts",
    "paths",
    "quantities",
    "readings",
    "render",
    "replace_paths",
    "resolve_old",
    "threshold",
]

MAX_LENGTH: Final = 10_000
"""Characters of one expression."""
MAX_DEPTH: Final = 50
"""Parentheses, signs, calls and `not` inside each other."""
MAX_HEIGHT: Final = 100
"""Levels of the tree: also bounds a long chain of sums, so that no later walk runs out of stack."""

_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SEGMENT = re.compile(r"\*|[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*")
_OPERATOR = re.compile(r"\*\*|//|==|!=|<=|>=|[-+*/%()<>=,]")
_SPACE = re.compile(r"\s*")
_SELECTION = re.compile(
    r"""\s*(?P<axis>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s,\[\]'"=]+))\s*""",
    re.DOTALL,
)
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=", "=")
_STARTS_WITH_COMPARISON = re.compile(r"\s*(?:==|!=|<=|>=|<|>|=)")
_FOREIGN: Final = {
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`",
    "^": "a power is written `**`",
    "=>": "write `>=`",
    "=<": "write `<=`",
    "<>": "write `!=`",
}
_SPACES_HINT: Final = "inside a path '-' belongs to the name; put spaces around it to subtract"


class _Token(NamedTuple):
    kind: str  # number, name, path, op, end
    text: str
    at: int
    value: int | float | MetricPath | None = None


def parse(text: str) -> Expr:
    """Read an expression.

    Raises `ExpressionError`, with the column, when it is not one, is longer than `MAX_LENGTH` characters, or is
    nested deeper than `MAX_DEPTH`.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression has {len(text)} characters; at most {MAX_LENGTH} are read")
    expr = _Parser(text).whole()
    if height(expr) > MAX_HEIGHT:
        raise ExpressionError(f"the expression has more than {MAX_HEIGHT} levels", hint="split it up with `derived`")
    return expr


def parse_path(text: str) -> MetricPath:
    """Read one metric path and nothing else. Raises `ExpressionError`."""
    expr = parse(text)
    if isinstance(expr, MetricPath):
        return expr
    raise ExpressionError(
        f"{text.strip()!r} is not a metric path",
        hint="write <statistic>.<group>.<quantity>, such as mean.melt.pressure",
    )


def parse_condition(name: str, when: str | float | None) -> Expr:
    """The condition of a rule with `name` and `when`.

    A number means `name == number`; text that begins with a comparison goes on from `name`; other text is the
    whole condition, and `name` is then not read. Without `when`, `name` itself may be the whole condition. Raises
    `ExpressionError` when there is no condition in it.
    """
    if when is None:
        return _condition_in(name)
    if isinstance(when, bool):
        raise ExpressionError(
            f"`when: {str(when).lower()}` is not a condition", hint="write a comparison such as '> 5'"
        )
    if not isinstance(when, str):
        return Compare("==", _named(name, str(when)), _number_of(when))
    if _STARTS_WITH_COMPARISON.match(when):
        return _condition_after(name, when)
    expr = parse(when)
    if (value := constant(expr)) is not None:
        return Compare("==", _named(name, when), _number_of(value))
    if not is_condition(expr):
        raise ExpressionError(
            f"{when.strip()!r} is a number, not a condition", when, 1, "compare it, such as '... > 5'"
        )
    return expr


def _condition_in(name: str) -> Expr:
    if name.strip() and is_condition(expr := parse(name)):
        return expr
    raise ExpressionError("`when` is missing", hint=f"say what {name or 'the metric'} must be, such as when: '> 5'")


def _condition_after(name: str, when: str) -> Expr:
    _named(name, when)
    before = f"{name.strip()} "
    try:
        return parse(before + when)
    except ExpressionError as error:
        if not error.column:
            raise
        column = max(1, error.column - len(before))
        raise ExpressionError(error.message, when, column, error.hint) from None


def _named(name: str, when: str) -> MetricPath:
    if not name:
        raise ExpressionError(
            f"`when: {when}` compares nothing", hint="give the rule a `name`, or write the whole condition"
        )
    return parse_path(name)


def _number_of(value: int | float) -> Expr:
    if not finite(value):
        raise ExpressionError(f"{value} is not a finite number")
    return Negate(Number(-value)) if value < 0 else Number(value)


class _Parser:
    """Precedence climbing over tokens made on demand; one level of nesting costs three Python frames."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.depth = 0
        self.token = self._next(0)

    def whole(self) -> Expr:
        if self.token.kind == "end":
            raise ExpressionError("the expression is empty")
        expr = self.expression(0)
        if self.token.kind != "end":
            raise self._unexpected("an operator")
        return expr

    # Grammar

    def expression(self, least: int) -> Expr:
        """Everything from here on whose operators bind at least as tightly as `least`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep")
        left_at = self.token.at
        left = self._operand()
        while (op := self._operator()) and binding(op) >= least:
            at = self.token.at
            self._advance()
            right_at = self.token.at
            # `**` binds to the right and lets a sign stand before its exponent; the others bind to the left.
            right = self.expression(binding("negate") if op == "**" else binding(op) + 1)
            left = self._join(op, at, (left, left_at), (right, right_at))
        self.depth -= 1
        return left

    def _operator(self) -> str:
        token = self.token
        if token.kind == "op" and token.text not in "(),":
            return "==" if token.text == "=" else token.text
        return token.text if token.kind == "name" and token.text in ("and", "or") else ""

    def _join(self, op: str, at: int, left: tuple[Expr, int], right: tuple[Expr, int]) -> Expr:
        if op in ("and", "or"):
            for side, begins in (left, right):
                if not is_condition(side):
                    raise self._error(
                        f"`{op}` joins conditions, and {render(side)} is a number", begins, "compare it first"
                    )
            return _junction(op, left[0], right[0])
        for side, begins in (left, right):
            if is_condition(side):
                if op in _COMPARISONS and isinstance(side, Compare):
                    raise self._error("comparisons cannot be chained", at, "write `a < b and b < c`")
                raise self._error(f"`{op}` needs numbers, and {render(side)} is a condition", begins)
        if op in _COMPARISONS:
            return Compare(cast(CompareOp, op), left[0], right[0])
        return Arithmetic(cast(ArithmeticOp, op), left[0], right[0])

    def _operand(self) -> Expr:
        token = self.token
        if token.kind in ("number", "path"):
            self._advance()
            if isinstance(token.value, MetricPath):
                return token.value
            return Number(cast(int | float, token.value))
        if token.kind == "op" and token.text in ("-", "+"):
            return self._signed()
        if token.kind == "op" and token.text == "(":
            self._advance()
            inner = self.expression(0)
            self._expect(")", token)
            return inner
        if token.kind == "name":
            return self._negated() if token.text == "not" else self._named(token)
        raise self._unexpected("a number, a metric path or a name")

    def _signed(self) -> Expr:
        sign = self.token
        self._advance()
        operand = self.expression(binding("negate"))
        if is_condition(operand):
            raise self._error(f"`{sign.text}` needs a number, and {render(operand)} is a condition", sign.at)
        return Negate(operand) if sign.text == "-" else operand

    def _negated(self) -> Expr:
        at = self.token.at
        self._advance()
        operand = self.expression(binding("not"))
        if not is_condition(operand):
            raise self._error(f"`not` needs a condition, and {render(operand)} is a number", at, "compare it first")
        return Not(operand)

    def _named(self, token: _Token) -> Expr:
        if token.text in RESERVED:
            what = "is not a number" if token.text in ("nan", "inf", "true", "false") else "stands where a value should"
            raise self._error(f"{token.text!r} {what}", token.at)
        self._advance()
        if self.token.kind == "op" and self.token.text == "(":
            return self._call(token)
        return Name(token.text)

    def _call(self, function: _Token) -> Expr:
        if function.text not in FUNCTIONS:
            meant = nearest(function.text, FUNCTIONS)
            hint = f"did you mean {meant}?" if meant else f"known are {' '.join(FUNCTIONS)}"
            raise self._error(f"unknown function {function.text!r}", function.at, hint)
        opening = self.token
        arguments: list[Expr] = []
        while not arguments or self.token.text == ",":
            self._advance()
            at = self.token.at
            arguments.append(self.expression(0))
            if is_condition(arguments[-1]):
                raise self._error(f"{function.text} needs numbers", at)
        self._expect(")", opening)
        if len(arguments) > 1 and function.text not in ("min", "max"):
            raise self._error(f"{function.text} takes one number, not {len(arguments)}", function.at)
        return Apply(function.text, tuple(arguments))

    # Tokens

    def _advance(self) -> None:
        token = self.token
        self.token = self._next(token.at + len(token.text))

    def _next(self, at: int) -> _Token:
        at = cast(re.Match[str], _SPACE.match(self.text, at)).end()
        if at >= len(self.text):
            return _Token("end", "", at)
        if match := _NUMBER.match(self.text, at):
            return self._number(match)
        if match := _WORD.match(self.text, at):
            if self.text.startswith(".", match.end()):
                return _PathReader(self.text, match).token()
            return _Token("name", match.group(), at)
        if match := _OPERATOR.match(self.text, at):
            pair = self.text[at : at + 2]
            if pair in _FOREIGN:
                raise self._error(f"{pair!r} is not an operator", at, _FOREIGN[pair])
            return _Token("op", match.group(), at)
        character = self.text[at]
        raise self._error(f"{character!r} has no meaning here", at, _FOREIGN.get(character, ""))

    def _number(self, match: re.Match[str]) -> _Token:
        text, at = match.group(), match.start()
        if _WORD.match(self.text, match.end()):
            raise self._error("a number runs into a name", match.end(), "put an operator between them")
        value: int | float
        if text.isdigit():
            # The length first: turning very many digits into an int is slow, and Python refuses it above 4,300.
            value = int(text) if len(text) <= 308 else float("inf")
        else:
            value = float(text)
        if not finite(value):
            raise self._error("the number is too large", at)
        return _Token("number", text, at, value)

    def _expect(self, text: str, opening: _Token) -> None:
        if self.token.kind == "op" and self.token.text == text:
            self._advance()
        elif self.token.kind == "end":
            raise self._error(f"'(' is never closed by {text!r}", opening.at)
        else:
            raise self._unexpected(f"an operator or {text!r}")

    def _unexpected(self, expected: str) -> ExpressionError:
        found = repr(str(self.token.text)) if self.token.kind != "end" else "the end"
        return self._error(f"expected {expected}, found {found}")

    def _error(self, message: str, at: int = -1, hint: str = "") -> ExpressionError:
        return ExpressionError(message, self.text, (self.token.at if at < 0 else at) + 1, hint)


def _junction(op: str, left: Expr, right: Expr) -> Junction:
    parts: list[Expr] = []
    for side in (left, right):
        parts.extend(side.parts if isinstance(side, Junction) and side.op == op else (side,))
    return Junction("and" if op == "and" else "or", tuple(parts))


class _PathReader:
    """Reads one metric path whose first word has been found and is followed by a dot."""

    def __init__(self, text: str, first: re.Match[str]) -> None:
        self.text = text
        self.start, self.at = first.start(), first.end()
        self.segments = [first.group()]
        self.point: dict[str, Scalar] = {}

    def token(self) -> _Token:
        while self.text.startswith(".", self.at):
            match = _SEGMENT.match(self.text, self.at + 1)
            if not match:
                raise self._error("a metric path ends in a dot", self.at, "write <statistic>.<group>.<quantity>")
            self.segments.append(match.group())
            self.at = match.end()
            if self.text.startswith("[", self.at):
                self._selector()
        return _Token("path", self.text[self.start : self.at], self.start, self._path())

    def _selector(self) -> None:
        opening = self.at
        if len(self.segments) != 2 or self.segments[0] in MEMBER_METRICS:
            raise self._error("[...] picks points of a group and stands right after its name", opening)
        if self.text.startswith("[*]", opening):
            self.point, self.at = dict(ALL_POINTS), opening + 3
            return
        self.at += 1
        while True:
            match = _SELECTION.match(self.text, self.at)
            if not match:
                raise self._error("a point is written [axis=value,...] or [*]", self.at)
            axis = match["axis"]
            if axis in self.point:
                raise self._error(f"axis {axis!r} is given twice", self.at)
            self.point[axis] = self._value(match)
            self.at = match.end()
            if self.text.startswith("]", self.at):
                self.at += 1
                return
            if not self.text.startswith(",", self.at):
                raise self._error("'[' is never closed by ']'", opening)
            self.at += 1

    def _value(self, match: re.Match[str]) -> Scalar:
        if (bare := match["bare"]) is not None:
            return scalar_of(bare)
        quoted = match["double"] if match["double"] is not None else match["single"]
        return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)

    def _path(self) -> MetricPath:
        head, *rest = self.segments
        if head in MEMBER_METRICS:
            return self._member_path(head, rest)
        if not is_statistic(head):
            meant = nearest(head, (*STATISTICS, "derived", *MEMBER_METRICS))
            if re.fullmatch(r"p\d+", head):
                meant = ""
            hint = (
                f"did you mean {meant}?" if meant else "known are count sum mean std ci95 min max median p1..p99, ..."
            )
            raise self._error(f"unknown statistic {head!r}", self.start, hint)
        if len(rest) == 1 and head != "derived" and "-" in rest[0]:
            return MetricPath(head, rest[0], "", tuple(self.point.items()))
        if len(rest) != 2:
            raise self._error(
                f"a metric path has three parts, not {len(rest) + 1}",
                self.start,
                "write <statistic>.<group>.<quantity>",
            )
        return MetricPath(head, rest[0], self._quantity(rest[1]), tuple(self.point.items()))

    def _member_path(self, head: str, rest: list[str]) -> MetricPath:
        known = MEMBER_METRICS[head]
        if len(rest) > 2 or self._quantity(rest[-1]) not in known:
            meant = f"{head}.{nearest(rest[-1], known) or known[0]}"
            raise self._error(f"{head}. goes on with {', '.join(known)}", self.start, f"did you mean {meant}?")
        return MetricPath(head, rest[0] if len(rest) == 2 else "", rest[-1])

    def _quantity(self, word: str) -> str:
        if "-" in word:
            raise self._error(f"{word!r} is not a quantity", self.at - len(word), _SPACES_HINT)
        if not _WORD.fullmatch(word):
            raise self._error(f"{word!r} is not a quantity", self.at - len(word))
        return word

    def _error(self, message: str, at: int, hint: str = "") -> ExpressionError:
        return ExpressionError(message, self.text, at + 1, hint)
