"""Between which bounds an expression lies, given those of what it reads (interval arithmetic, Moore 1966).

Bounds may be too wide and are never too narrow: where `may_hold` says no, the condition cannot become true.
"""

from __future__ import annotations

__all__ = ["Range", "may_hold"]

import math
from collections.abc import Callable
from typing import NamedTuple

from ensemble.spec.evaluation import threshold
from ensemble.spec.tree import (
    Apply,
    Arithmetic,
    Compare,
    Expr,
    Junction,
    MetricPath,
    Name,
    Negate,
    Not,
    Number,
)


class Range(NamedTuple):
    """All numbers from `low` to `high` (`whole`: only whole ones); nothing at all when `low` is above `high`."""

    low: float
    high: float
    whole: bool = False


Reader = Callable[[MetricPath], Range]

_ANY = Range(-math.inf, math.inf)
_NOTHING = Range(math.inf, -math.inf)


def may_hold(expr: Expr, read: Reader) -> bool:
    """Whether a condition can ever be true (an unknown one is not)."""
    return _truth(expr, read)[0]


def _truth(expr: Expr, read: Reader) -> tuple[bool, bool]:
    """Whether it can be true, and whether it can be false."""
    if isinstance(expr, Not):
        true, false = _truth(expr.operand, read)
        return false, true
    if isinstance(expr, Junction):
        parts = [_truth(part, read) for part in expr.parts]
        if expr.op == "and":
            met = all(true for true, _ in parts) and _agree(expr.parts)
            return met, any(false for _, false in parts)
        return any(true for true, _ in parts), all(false for _, false in parts)
    if isinstance(expr, Compare):
        return _compared(expr.op, _range(expr.left, read), _range(expr.right, read))
    return True, True


def _agree(parts: tuple[Expr, ...]) -> bool:
    """Whether comparisons of one path with numbers leave it any value when all of them hold."""
    allowed: dict[MetricPath, tuple[float, bool, float, bool]] = {}
    for part in parts:
        known = threshold(part)
        if known is None:
            continue
        path, op, number = known
        low, low_open, high, high_open = allowed.get(path, (-math.inf, False, math.inf, False))
        if op in (">", ">=", "==") and (number, op == ">") > (low, low_open):
            low, low_open = number, op == ">"
        if op in ("<", "<=", "==") and (-number, op == "<") > (-high, high_open):
            high, high_open = number, op == "<"
        allowed[path] = low, low_open, high, high_open
    return all(low < high or (low == high and not (lo or ho)) for low, lo, high, ho in allowed.values())


def _compared(op: str, left: Range, right: Range) -> tuple[bool, bool]:
    if left.low > left.high or right.low > right.high:
        return False, False
    if op in (">", ">="):
        return _compared("<" if op == ">" else "<=", right, left)
    if op == "<":
        return left.low < right.high, left.high >= right.low
    if op == "<=":
        return left.low <= right.high, left.high > right.low
    overlap = left.low <= right.high and right.low <= left.high
    for one, other in ((left, right), (right, left)):
        if one.whole and other.low == other.high and other.low != math.floor(other.low):
            overlap = False
    same = left.low == left.high == right.low == right.high
    return (overlap, not same) if op == "==" else (not same, overlap)


def _range(expr: Expr, read: Reader) -> Range:
    if isinstance(expr, Number):
        return Range(expr.value, expr.value)
    if isinstance(expr, MetricPath):
        return read(expr)
    if isinstance(expr, Negate):
        inner = _range(expr.operand, read)
        return Range(-inner.high, -inner.low, inner.whole)
    if isinstance(expr, Arithmetic):
        return _arithmetic(expr.op, _range(expr.left, read), _range(expr.right, read))
    if isinstance(expr, Apply):
        return _applied(expr.function, [_range(one, read) for one in expr.arguments])
    assert isinstance(expr, Name) or expr is not None
    return _ANY


def _arithmetic(op: str, left: Range, right: Range) -> Range:
    if left.low > left.high or right.low > right.high:
        return _NOTHING
    if op == "+":
        return _bounds([left.low + right.low, left.high + right.high])
    if op == "-":
        return _bounds([left.low - right.high, left.high - right.low])
    if op == "*":
        return _bounds([_times(a, b) for a in left[:2] for b in right[:2]])
    if op == "/" and (right.low > 0 or right.high < 0):
        return _bounds([_over(a, b) for a in left[:2] for b in right[:2]])
    return _ANY


def _applied(function: str, given: list[Range]) -> Range:
    if any(one.low > one.high for one in given):
        return _NOTHING
    if function == "abs":
        low, high = given[0][:2]
        return Range(0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high)))
    if function == "min":
        return Range(min(one.low for one in given), min(one.high for one in given))
    if function == "max":
        return Range(max(one.low for one in given), max(one.high for one in given))
    if function in ("sqrt", "exp"):
        return Range(0, math.inf)
    return _ANY


def _bounds(found: list[float]) -> Range:
    if any(math.isnan(value) for value in found):
        return _ANY
    return Range(min(found), max(found))


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _over(a: float, b: float) -> float:
    return 0.0 if a == 0 or math.isinf(b) else a / b
