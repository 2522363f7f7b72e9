"""From tree to closure: three-valued evaluation, thresholds, and what explains a condition.

Import these from `ensemble.spec.expressions`. A closure is built once; calling it reads each value through the
getter it was given and returns a number, a truth value, or None for unknown.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Final, cast

from ensemble.model.errors import ExpressionError
from ensemble.model.jobs import Scalar
from ensemble.spec.tree import (
    Apply,
    Arithmetic,
    Compare,
    CompareOp,
    Expr,
    Junction,
    MetricPath,
    Name,
    Negate,
    Not,
    Number,
    names,
    parts,
    paths,
    render,
    walk,
)

Value = float | None
Truth = bool | None
Getter = Callable[[], Value]
Test = Callable[[], Truth]

_LARGEST: Final = sys.float_info.max
_MATH_ERRORS: Final = (ArithmeticError, ValueError)


def compile_expr(
    expr: Expr,
    resolve: Callable[[MetricPath], Getter],
    resolve_name: Callable[[str], Getter] | None = None,
) -> Callable[[], float | bool | None]:
    """Build the closure of an expression.

    `resolve` and `resolve_name` are called once for each place of a path or name, now; what they return is called
    at every evaluation and gives a finite number, or None for unknown. Raises `ExpressionError` when the expression
    holds a bare name and `resolve_name` is None.
    """
    return _Compiler(resolve, resolve_name).any(expr)


class Formula:
    """An expression over names alone, compiled once, for many sets of values (`valid`, `tasks: "{N * 32}"`).

    Not for two threads at a time: the values in hand are kept while a call lasts.
    """

    __slots__ = ("_call", "_values", "expr")

    def __init__(self, expr: Expr) -> None:
        self.expr = expr
        self._values: Mapping[str, Scalar | None] = {}
        self._call = compile_expr(expr, lambda _path: _unknown, self._getter)

    def value(self, values: Mapping[str, Scalar | None]) -> float | bool | None:
        """The value; a name that `values` lacks, or that is text there, is unknown."""
        self._values = values
        return self._call()

    def _getter(self, name: str) -> Getter:
        def read() -> Value:
            value = self._values.get(name)
            return None if isinstance(value, str) else value

        return read


def evaluate(expr: Expr, values: Mapping[str, Scalar | None]) -> float | bool | None:
    """`Formula(expr).value(values)`: for once."""
    return Formula(expr).value(values)


def constant(expr: Expr) -> int | float | None:
    """The value of arithmetic on numbers alone; None when it reads anything, is a condition, or is unknown."""
    if any(isinstance(node, Name | MetricPath | Compare) for node in walk(expr)):
        return None
    return cast("int | float | None", compile_expr(expr, lambda _path: _unknown)())


_MIRRORED: Final[dict[CompareOp, CompareOp]] = {
    "==": "==",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}


def threshold(expr: Expr) -> tuple[MetricPath, CompareOp, float] | None:
    """`(path, op, constant)` when the whole condition compares one path with a constant, whichever side it is on."""
    if not isinstance(expr, Compare):
        return None
    if isinstance(expr.left, MetricPath) and (bound := constant(expr.right)) is not None:
        return expr.left, expr.op, bound
    if isinstance(expr.right, MetricPath) and (bound := constant(expr.left)) is not None:
        return expr.right, _MIRRORED[expr.op], bound
    return None


def readings(
    expr: Expr,
    resolve: Callable[[MetricPath], Getter],
    resolve_name: Callable[[str], Getter] | None = None,
) -> dict[str, float | None]:
    """The present value of each path and name the expression reads, by its text: what `Firing.why` holds."""
    values = {str(path): resolve(path)() for path in paths(expr)}
    if resolve_name is not None:
        values.update({name: resolve_name(name)() for name in names(expr)})
    return values


def explain(
    expr: Expr,
    resolve: Callable[[MetricPath], Getter],
    resolve_name: Callable[[str], Getter] | None = None,
) -> tuple[tuple[str, float | bool | None], ...]:
    """Each comparison in the expression with the values it read, in words, and its truth (None: unknown).

    An expression that is a number is explained as one part.
    """
    return tuple(
        (_with_readings(atom, resolve, resolve_name), compile_expr(atom, resolve, resolve_name)())
        for atom in parts(expr)
    )


def _with_readings(
    atom: Expr, resolve: Callable[[MetricPath], Getter], resolve_name: Callable[[str], Getter] | None
) -> str:
    values = readings(atom, resolve, resolve_name)
    text = render(atom)
    if not values:
        return text
    read = ", ".join(f"{name} = {'unknown' if value is None else f'{value:.6g}'}" for name, value in values.items())
    return f"{text} ({read})"


def _unknown() -> None:
    return None


class _Compiler:
    """Turns nodes into closures. Numbers and truths apart, as the parser keeps them apart."""

    def __init__(self, resolve: Callable[[MetricPath], Getter], resolve_name: Callable[[str], Getter] | None) -> None:
        self.resolve, self.resolve_name = resolve, resolve_name

    def any(self, expr: Expr) -> Callable[[], float | bool | None]:
        return self.truth(expr) if isinstance(expr, Compare | Not | Junction) else self.number(expr)

    def truth(self, expr: Expr) -> Test:
        match expr:
            case Compare():
                return self._compare(expr)
            case Not():
                return _inverted(self.truth(expr.operand))
            case Junction(op="and"):
                return _all(tuple(self.truth(part) for part in expr.parts))
            case Junction():
                return _any(tuple(self.truth(part) for part in expr.parts))
            case _:
                raise ExpressionError(f"{render(expr)} is a number, not a condition", hint="compare it first")

    def number(self, expr: Expr) -> Getter:
        match expr:
            case Number():
                return _constantly(expr.value)
            case MetricPath():
                return self.resolve(expr)
            case Name():
                if self.resolve_name is None:
                    raise ExpressionError(
                        f"{expr.name!r} is not a metric path", hint="write <statistic>.<group>.<quantity>"
                    )
                return self.resolve_name(expr.name)
            case Negate():
                return _negated(self.number(expr.operand))
            case Arithmetic():
                return _arithmetic(expr.op, self.number(expr.left), self.number(expr.right))
            case Apply():
                return _applied(expr.function, tuple(self.number(part) for part in expr.arguments))
            case _:
                raise ExpressionError(f"{render(expr)} is a condition, not a number")

    def _compare(self, expr: Compare) -> Test:
        left, bound = self.number(expr.left), constant(expr.right)
        if bound is not None:
            return _compared_to(_COMPARE[expr.op], left, bound)
        return _compared(_COMPARE[expr.op], left, self.number(expr.right))


_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _compared(compare: Callable[[float, float], bool], left: Getter, right: Getter) -> Test:
    def test() -> Truth:
        a, b = left(), right()
        return None if a is None or b is None else compare(a, b)

    return test


def _compared_to(compare: Callable[[float, float], bool], left: Getter, bound: float) -> Test:
    def test() -> Truth:
        a = left()
        return None if a is None else compare(a, bound)

    return test


def _inverted(inner: Test) -> Test:
    def test() -> Truth:
        truth = inner()
        return None if truth is None else not truth

    return test


def _all(parts: tuple[Test, ...]) -> Test:
    def test() -> Truth:
        result: Truth = True
        for part in parts:
            truth = part()
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    return test


def _any(parts: tuple[Test, ...]) -> Test:
    def test() -> Truth:
        result: Truth = False
        for part in parts:
            truth = part()
            if truth is True:
                return True
            if truth is None:
                result = None
        return result

    return test


def _constantly(value: float) -> Getter:
    return lambda: value


def _negated(inner: Getter) -> Getter:
    def number() -> Value:
        value = inner()
        return None if value is None else -value

    return number


def _power(base: float, exponent: float) -> float:
    """Like `**`, but with an overflow where the result of two ints would not fit a float: no giant is ever made."""
    approximate = math.pow(base, exponent)
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        return cast(int, base**exponent)
    return approximate


_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": _power,
}


def _arithmetic(op: str, left: Getter, right: Getter) -> Getter:
    calculate = _ARITHMETIC[op]

    def number() -> Value:
        a, b = left(), right()
        if a is None or b is None:
            return None
        try:
            value = calculate(a, b)
        except _MATH_ERRORS:
            return None
        # False for NaN too. The bound also keeps ints from growing without end.
        return value if -_LARGEST <= value <= _LARGEST else None

    return number


_ONE_ARGUMENT: Final[dict[str, Callable[[float], float]]] = {
    "abs": abs,
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
}


def _applied(function: str, arguments: tuple[Getter, ...]) -> Getter:
    if function in ("min", "max"):
        return _extreme(min if function == "min" else max, arguments)
    calculate, argument = _ONE_ARGUMENT[function], arguments[0]

    def number() -> Value:
        value = argument()
        if value is None:
            return None
        try:
            return calculate(value)
        except _MATH_ERRORS:
            return None

    return number


def _extreme(choose: Callable[[list[float]], float], arguments: tuple[Getter, ...]) -> Getter:
    def number() -> Value:
        values = [value for argument in arguments if (value := argument()) is not None]
        return choose(values) if len(values) == len(arguments) else None

    return number
