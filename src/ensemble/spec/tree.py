"""The tree an expression is parsed into, the words of metric paths, and the canonical text of both.

Import these from `ensemble.spec.expressions`; they live here so that parser and compiler can share them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from typing import Final, Literal, Union

from msgspec import Struct

from ensemble.metrics.statistics import is_known
from ensemble.model.errors import ExpressionError
from ensemble.model.jobs import COUNTS, Scalar
from ensemble.spec.vocabulary import MEMBER_METRICS, QUANTITIES

ALL_POINTS: Final[tuple[tuple[str, Scalar], ...]] = (("*", "*"),)
"""`MetricPath.point` of `group[*]`: the whole group, also inside `for_each`."""

FUNCTIONS: Final = ("abs", "min", "max", "sqrt", "log", "exp", "floor", "ceil", "round")
RESERVED: Final = ("and", "or", "not", "true", "false", "nan", "inf")

ArithmeticOp = Literal["+", "-", "*", "/", "//", "%", "**"]
CompareOp = Literal["==", "!=", "<", "<=", ">", ">="]

_BARE_VALUE = re.compile(r"[A-Za-z_][A-Za-z0-9_.+/-]*")


class Number(Struct, frozen=True, gc=False):
    """A finite number as written: an int stays an int."""

    value: int | float


class Name(Struct, frozen=True, gc=False):
    """A bare name: a figure of merit, `duration`, an axis."""

    name: str


class MetricPath(Struct, frozen=True, gc=False):
    """`<statistic>.<group>[<axis>=<value>,...].<quantity>`.

    `statistic` is one of `STATISTICS`, `derived`, or `nodes`, `cores`, `queue` (then `group` is the member, empty
    for the only one). `group` may be `*`. `quantity` is empty in the older form `mean.sleep-pending`, whose `group` is
    then all of `sleep-pending` (see `resolve_old`). `point` picks the points with these values; `ALL_POINTS` is `[*]`.
    """

    statistic: str
    group: str
    quantity: str = ""
    point: tuple[tuple[str, Scalar], ...] = ()

    def __str__(self) -> str:
        selector = ""
        if self.point == ALL_POINTS:
            selector = "[*]"
        elif self.point:
            selector = "[" + ",".join(f"{axis}={_value_text(value)}" for axis, value in self.point) + "]"
        group = f".{self.group}{selector}" if self.group else ""
        quantity = f".{self.quantity}" if self.quantity else ""
        return f"{self.statistic}{group}{quantity}"


class Negate(Struct, frozen=True, gc=False):
    """`-operand`."""

    operand: Expr


class Arithmetic(Struct, frozen=True, gc=False):
    """`left op right`, a number."""

    op: ArithmeticOp
    left: Expr
    right: Expr


class Apply(Struct, frozen=True, gc=False):
    """`function(arguments)`, a number."""

    function: str
    arguments: tuple[Expr, ...]


class Compare(Struct, frozen=True, gc=False):
    """`left op right`, a truth value: the atom of every condition."""

    op: CompareOp
    left: Expr
    right: Expr


class Not(Struct, frozen=True, gc=False):
    """`not operand`."""

    operand: Expr


class Junction(Struct, frozen=True, gc=False):
    """`a and b and c` (or `or`), flat: no part is a junction of the same word."""

    op: Literal["and", "or"]
    parts: tuple[Expr, ...]


Expr = Union[Number, Name, MetricPath, Negate, Arithmetic, Apply, Compare, Not, Junction]

_BINDING: Final = {
    "or": 1,
    "and": 2,
    "not": 3,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 4),
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "//": 6,
    "%": 6,
    "negate": 7,
    "**": 8,
    "atom": 9,
}


def binding(op: str) -> int:
    """How tightly an operator binds; more is tighter."""
    return _BINDING[op]


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of a node, from left to right."""
    match expr:
        case Arithmetic() | Compare():
            return (expr.left, expr.right)
        case Negate() | Not():
            return (expr.operand,)
        case Apply():
            return expr.arguments
        case Junction():
            return expr.parts
        case _:
            return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node, each before its parts, from left to right."""
    waiting = [expr]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))


def height(expr: Expr) -> int:
    """Levels of the tree."""
    tallest, waiting = 0, [(expr, 1)]
    while waiting:
        node, level = waiting.pop()
        tallest = max(tallest, level)
        waiting.extend((child, level + 1) for child in children(node))
    return tallest


def is_condition(expr: Expr) -> bool:
    """Whether it yields a truth value; otherwise it yields a number."""
    return isinstance(expr, Compare | Not | Junction)


def paths(expr: Expr) -> tuple[MetricPath, ...]:
    """Every metric path, in order of appearance, each once."""
    return tuple(dict.fromkeys(node for node in walk(expr) if isinstance(node, MetricPath)))


def names(expr: Expr) -> tuple[str, ...]:
    """Every bare name, in order of appearance, each once."""
    return tuple(dict.fromkeys(node.name for node in walk(expr) if isinstance(node, Name)))


def parts(expr: Expr) -> tuple[Expr, ...]:
    """Every comparison, in order of appearance: what a condition is explained by. A number is its own one part."""
    return tuple(node for node in walk(expr) if isinstance(node, Compare)) or (expr,)


def replace_paths(expr: Expr, change: Callable[[MetricPath], MetricPath]) -> Expr:
    """The same expression with each path exchanged for `change(path)`: older forms resolved, `for_each` bound."""
    match expr:
        case MetricPath():
            return change(expr)
        case Negate():
            return Negate(replace_paths(expr.operand, change))
        case Not():
            return Not(replace_paths(expr.operand, change))
        case Arithmetic():
            return Arithmetic(expr.op, replace_paths(expr.left, change), replace_paths(expr.right, change))
        case Compare():
            return Compare(expr.op, replace_paths(expr.left, change), replace_paths(expr.right, change))
        case Apply():
            return Apply(expr.function, tuple(replace_paths(part, change) for part in expr.arguments))
        case Junction():
            return Junction(expr.op, tuple(replace_paths(part, change) for part in expr.parts))
        case _:
            return expr


def render(expr: Expr) -> str:
    """The canonical text, with no more parentheses than needed: `parse(render(expr)) == expr`."""
    return _text(expr, 0)


def _text(expr: Expr, outer: int) -> str:
    own, text = _bound_text(expr)
    return f"({text})" if own < outer else text


def _bound_text(expr: Expr) -> tuple[int, str]:
    match expr:
        case Number():
            return binding("atom"), repr(expr.value)
        case Name():
            return binding("atom"), expr.name
        case MetricPath():
            return binding("atom"), str(expr)
        case Apply():
            return binding("atom"), f"{expr.function}({', '.join(_text(part, 0) for part in expr.arguments)})"
        case Negate():
            own = binding("negate")
            return own, f"-{_text(expr.operand, own)}"
        case Not():
            own = binding("not")
            return own, f"not {_text(expr.operand, own)}"
        case Junction():
            own = binding(expr.op)
            return own, f" {expr.op} ".join(_text(part, own + 1) for part in expr.parts)
        case Compare():
            own = binding(expr.op)
            return own, f"{_text(expr.left, own + 1)} {expr.op} {_text(expr.right, own + 1)}"
        case Arithmetic(op="**"):
            # Binds to the right, and a sign may stand before its exponent but not before its base.
            own = binding("**")
            return own, f"{_text(expr.left, own + 1)} ** {_text(expr.right, binding('negate'))}"
        case Arithmetic():
            own = binding(expr.op)
            return own, f"{_text(expr.left, own)} {expr.op} {_text(expr.right, own + 1)}"


def _value_text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    if _BARE_VALUE.fullmatch(value) and value not in ("true", "false"):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def nearest(word: str, choices: Collection[str]) -> str:
    """The choice that `word` most likely meant, or an empty string."""
    import difflib  # only for an error message: it would cost every start a millisecond

    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return close[0] if close else ""


def is_statistic(word: str) -> bool:
    """Whether `word` may begin the path of a group's metric."""
    return word == "derived" or is_known(word)


def is_quantity(statistic: str, quantity: str, figures: Collection[str] = ()) -> bool:
    """Whether a group whose `outputs` (or, for `derived`, whose derived names) are `figures` has this metric."""
    if statistic in MEMBER_METRICS:
        return quantity in MEMBER_METRICS[statistic]
    return quantity in quantities(statistic, figures)


def quantities(statistic: str, figures: Collection[str] = ()) -> tuple[str, ...]:
    """What may follow `<statistic>.<group>.`, for a message or a search of the nearest."""
    if statistic in MEMBER_METRICS:
        return MEMBER_METRICS[statistic]
    if statistic == "derived":
        return tuple(figures)
    known = (*QUANTITIES, *figures)
    return tuple(dict.fromkeys((*COUNTS, *known))) if statistic == "count" else known


def resolve_old(path: MetricPath, groups: Collection[str], figures: Collection[str] = ()) -> MetricPath:
    """Turn the older `mean.sleep-pending` into `mean.sleep.pending`; any other path is given back as it is.

    The cut is at a `-` after a known group; a cut that leaves a known quantity is preferred, then the longest group.
    Raises `ExpressionError` when no known group stands before a `-`.
    """
    if path.quantity:
        return path
    words = path.group.split("-")
    cuts = [("-".join(words[:cut]), "-".join(words[cut:])) for cut in range(len(words) - 1, 0, -1)]
    fitting = [(group, quantity) for group, quantity in cuts if group in groups and quantity.isidentifier()]
    if fitting:
        known = [cut for cut in fitting if is_quantity(path.statistic, cut[1], figures)]
        group, quantity = (known or fitting)[0]
        return MetricPath(path.statistic, group, quantity, path.point)
    meant = nearest(cuts[0][0], groups)
    hint = f"did you mean {path.statistic}.{meant}.{cuts[0][1]}?" if meant else "write <statistic>.<group>.<quantity>"
    raise ExpressionError(f"{path} names no group of this ensemble", hint=hint)


def finite(value: float) -> bool:
    """Whether a number can stand in a record (an int too large for a float cannot)."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def scalar_of(text: str) -> Scalar:
    """The value that a bare word after `axis=` stands for: int, float, true, false, else text."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text) if len(text) < 300 else text
    if re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text) and finite(float(text)):
        return float(text)
    return text
