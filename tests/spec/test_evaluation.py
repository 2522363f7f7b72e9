"""Evaluation: what is unknown, what is exact, and that closures agree with the definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.errors import ExpressionError
from ensemble.spec.expressions import (
    Compare,
    Expr,
    Formula,
    Junction,
    MetricPath,
    Name,
    Negate,
    Not,
    Number,
    compile_expr,
    evaluate,
    explain,
    parse,
    parts,
    readings,
    render,
)
from tests.spec.trees import arithmetic, comparisons, logic

UNKNOWN = None


def _naive(expr: Expr, values: dict[str, float | None]) -> float | bool | None:
    """The definition, written down once more without closures."""
    match expr:
        case Number():
            return expr.value
        case Name():
            return values[expr.name]
        case Compare():
            a, b = _naive(expr.left, values), _naive(expr.right, values)
            if a is None or b is None:
                return None
            return {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[expr.op]
        case Not():
            inner = _naive(expr.operand, values)
            return None if inner is None else not inner
        case Junction():
            parts = [_naive(part, values) for part in expr.parts]
            decisive = expr.op == "or"
            return decisive if decisive in parts else None if None in parts else not decisive
        case _:
            raise AssertionError(expr)


simple = comparisons(st.one_of(st.integers(0, 2).map(Number), st.sampled_from("abc").map(Name)))


@given(
    st.recursive(simple, logic, max_leaves=10),
    st.fixed_dictionaries({name: st.one_of(st.none(), st.integers(0, 2)) for name in "abc"}),
)
def test_closures_keep_the_three_valued_tables(expr: Expr, values: dict[str, float | None]) -> None:
    assert evaluate(expr, values) is _naive(expr, values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f and u", False),
        ("u and f", False),
        ("t and u", UNKNOWN),
        ("t and t", True),
        ("t or u", True),
        ("u or t", True),
        ("f or u", UNKNOWN),
        ("f or f", False),
        ("not u", UNKNOWN),
        ("not f", True),
    ],
)
def test_unknown_spreads_only_where_it_could_change_the_answer(text: str, expected: bool | None) -> None:
    for letter, atom in (("t", "1 > 0"), ("f", "1 < 0"), ("u", "gone > 0")):
        text = " ".join(f"({atom})" if word == letter else word for word in text.split())
    assert evaluate(parse(text), {}) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("N * 32", 128),
        ("N / 2", 2.0),
        ("N // 3", 1),
        ("N % 3", 1),
        ("N ** 2", 16),
        ("N ** -1", 0.25),
        ("N ** 0.5", 2.0),
        ("-N", -4),
        ("abs(-N)", 4),
        ("min(N, 2, 3)", 2),
        ("max(N, 2)", 4),
        ("sqrt(N)", 2.0),
        ("log(exp(N))", 4.0),
        ("floor(-0.5)", -1),
        ("ceil(0.5)", 1),
        ("round(2.5)", 2),
        ("flag + 1", 2),
    ],
)
def test_arithmetic_keeps_ints_ints(text: str, expected: float) -> None:
    value = evaluate(parse(text), {"N": 4, "flag": True})
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        *("1 / 0", "1 // 0", "1 % 0", "0 ** -1", "(-8) ** 0.5", "sqrt(-1)", "log(0)", "exp(1000)", "1e308 * 10"),
        *(
            "9 ** 9 ** 9",
            "9.0 ** 999",
            "2 ** 1024",
            "1e308 + 1e308",
            "1e308 // 1e-308",
            "-1e308 - 1e308",
            "10 ** 308 * 10.5",
        ),
        *(
            "gone",
            "gone + 1",
            "1 + gone",
            "-gone",
            "abs(gone)",
            "max(1, gone)",
            "gone > 1",
            "1 > gone",
            "word * 2",
            "word",
        ),
    ],
)
def test_what_cannot_be_worked_out_is_unknown_and_never_raises(text: str) -> None:
    assert evaluate(parse(text), {"word": "fast"}) is UNKNOWN


@given(arithmetic, st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_is_finite_or_unknown(expr: Expr, value: float) -> None:
    result = compile_expr(expr, lambda _: lambda: value, lambda _: lambda: value)()
    assert result is None or math.isfinite(result)


def test_getters_are_asked_for_once_and_read_at_every_call() -> None:
    asked, value = [], [1.0]

    def resolve(path: MetricPath):  # type: ignore[no-untyped-def]
        asked.append(str(path))
        return lambda: value[0]

    condition = compile_expr(parse("mean.a.x > 2"), resolve)
    assert condition() is False
    value[0] = 3.0
    assert condition() is True
    assert asked == ["mean.a.x"]


def test_a_bare_name_in_a_rule_is_refused_when_compiled() -> None:
    with pytest.raises(ExpressionError, match="'pressure' is not a metric path"):
        compile_expr(parse("pressure > 2"), lambda _: lambda: 1.0)


def test_a_tree_built_by_hand_that_mixes_kinds_is_refused() -> None:
    with pytest.raises(ExpressionError, match="not a condition"):
        compile_expr(Not(Number(1)), lambda _: lambda: 1.0)
    with pytest.raises(ExpressionError, match="not a number"):
        compile_expr(Negate(parse("1 > 0")), lambda _: lambda: 1.0)


def test_a_formula_serves_many_sets_of_values() -> None:
    formula = Formula(parse("N * 32 > 64"))
    assert [formula.value({"N": n}) for n in (1, 2, 3)] == [False, False, True]
    assert formula.value({}) is None


def test_explain_shows_each_comparison_with_its_values_and_truth() -> None:
    values = {"mean.a.x": 6.25, "count.a.success": None}
    expr = parse("mean.a.x > 5 and not count.a.success >= 3 or 1 > 2")
    assert explain(expr, lambda path: lambda: values[str(path)]) == (
        ("mean.a.x > 5 (mean.a.x = 6.25)", True),
        ("count.a.success >= 3 (count.a.success = unknown)", None),
        ("1 > 2", False),
    )
    assert readings(expr, lambda path: lambda: values[str(path)]) == values
    assert explain(parse("y + 1"), lambda _: lambda: None, lambda _: lambda: 2.0) == (("y + 1 (y = 2)", 3.0),)


def test_the_parts_of_a_condition_are_its_comparisons_in_order() -> None:
    expr = parse("not (mean.a.x > 5 or 1 < 2) and count.a.success == 3")
    assert [render(part) for part in parts(expr)] == ["mean.a.x > 5", "1 < 2", "count.a.success == 3"]
    assert parts(parse("mean.a.x + 1")) == (parse("mean.a.x + 1"),)
