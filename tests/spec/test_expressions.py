"""Expressions: what is read, what is refused, and that text and tree agree."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.metrics import STATISTICS
from ensemble.model.errors import ExpressionError
from ensemble.model.jobs import COUNTS
from ensemble.spec.expressions import (
    ALL_POINTS,
    MAX_DEPTH,
    MAX_HEIGHT,
    MAX_LENGTH,
    Compare,
    Expr,
    MetricPath,
    Negate,
    Number,
    compile_expr,
    constant,
    evaluate,
    is_condition,
    is_quantity,
    is_statistic,
    names,
    nearest,
    parse,
    parse_condition,
    parse_path,
    paths,
    quantities,
    render,
    replace_paths,
    resolve_old,
    threshold,
)
from ensemble.spec.vocabulary import MEMBER_METRICS, QUANTITIES
from tests.spec.trees import arithmetic, conditions, metric_paths


@given(st.one_of(arithmetic, conditions))
def test_the_canonical_text_of_any_tree_reads_as_the_same_tree(expr: Expr) -> None:
    assert parse(render(expr)) == expr


@given(metric_paths)
def test_the_text_of_any_path_reads_as_the_same_path_with_the_same_types(path: MetricPath) -> None:
    found = parse_path(str(path))
    assert found == path
    assert [type(value) for _, value in found.point] == [type(value) for _, value in path.point]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_an_expression_error(text: str) -> None:
    expr = _read_or_refused(text)
    assert expr is None or parse(render(expr)) == expr


@given(st.text(st.sampled_from(string.digits + "ab.-+*/%()<>=!&|[]{},'\" "), max_size=60))
def test_any_text_of_the_alphabet_is_read_or_refused_with_an_expression_error(text: str) -> None:
    expr = _read_or_refused(text)
    assert expr is None or parse(render(expr)) == expr


def _read_or_refused(text: str) -> Expr | None:
    try:
        return parse(text)
    except ExpressionError:
        return None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mean.melt.pressure", MetricPath("mean", "melt", "pressure")),
        ("mean.melt[T=1.1].pressure", MetricPath("mean", "melt", "pressure", (("T", 1.1),))),
        ("mean.melt[T=1, m = fast].x", MetricPath("mean", "melt", "x", (("T", 1), ("m", "fast")))),
        ("mean.melt[m='a b', ok=true].x", MetricPath("mean", "melt", "x", (("m", "a b"), ("ok", True)))),
        ("mean.melt[*].pressure", MetricPath("mean", "melt", "pressure", ALL_POINTS)),
        ("count.*.failed", MetricPath("count", "*", "failed")),
        ("count.melt-2.success", MetricPath("count", "melt-2", "success")),
        ("p99.lammps.duration", MetricPath("p99", "lammps", "duration")),
        ("derived.melt.speed_up", MetricPath("derived", "melt", "speed_up")),
        ("mean.sleep-pending", MetricPath("mean", "sleep-pending")),
        ("nodes.free", MetricPath("nodes", "", "free")),
        ("nodes.my-cloud.up", MetricPath("nodes", "my-cloud", "up")),
        ("queue.sched", MetricPath("queue", "", "sched")),
    ],
)
def test_a_path_is_read_as(text: str, path: MetricPath) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1+2*3", "1 + (2 * 3)"),
        ("1-2-3", "(1 - 2) - 3"),
        ("2**3**2", "2 ** (3 ** 2)"),
        ("-2**2", "-(2 ** 2)"),
        ("2**-1*4", "(2 ** (-1)) * 4"),
        ("not a > 1 and b > 2", "(not (a > 1)) and (b > 2)"),
        ("a > 1 or b > 2 and c > 3", "(a > 1) or ((b > 2) and (c > 3))"),
        ("a = 3", "a == 3"),
        ("+a", "a"),
        ("min.a.b*2", "(min.a.b) * 2"),
        ("count.*.failed*2", "(count.*.failed) * 2"),
        ("mean.a.b - 1", "(mean.a.b) - (1)"),
    ],
)
def test_operators_bind_as_in_python(text: str, same: str) -> None:
    assert parse(text) == parse(same)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 0, "empty"),
        ("   ", 0, "empty"),
        ("1 +", 4, "expected a number, a metric path or a name, found the end"),
        ("a b", 3, "expected an operator, found 'b'"),
        ("(1", 1, "never closed"),
        ("(1 2)", 4, "or ')'"),
        ("1 < x < 3", 7, "cannot be chained"),
        ("mean.melt.pressure-1", 11, "put spaces around it"),
        ("meen.melt.pressure", 1, "Did you mean mean?"),
        ("zzz.melt.pressure", 1, "Known are count"),
        ("mean.melt", 1, "<statistic>.<group>.<quantity>"),
        ("p99.9.x.duration", 1, "three parts"),
        ("mean.melt.", 10, "ends in a dot"),
        ("mean.melt.2x", 11, "not a quantity"),
        ("mean.melt.*", 11, "not a quantity"),
        ("derived.melt-x", 1, "three parts"),
        ("queue.runn", 1, "Did you mean queue.run?"),
        ("nodes.a.b.c", 1, "Did you mean"),
        ("mean.melt[T].x", 11, "[axis=value,...]"),
        ("mean.melt[T=1", 10, "never closed"),
        ("mean.melt[T=1,T=2].x", 15, "given twice"),
        ("mean.melt.x[T=1]", 12, "right after its name"),
        ("nodes.local[T=1].free", 12, "right after its name"),
        ("a && b", 3, "Write `and`"),
        ("a || b", 3, "Write `or`"),
        ("!a", 1, "Write `not`"),
        ("a ^ 2", 3, "`**`"),
        ("a => 2", 3, "Write `>=`"),
        ("a =< 2", 3, "Write `<=`"),
        ("a <> 2", 3, "Write `!=`"),
        ("5x", 2, "Put an operator between"),
        ("1e999", 1, "too large"),
        ("9" * 400, 1, "too large"),
        ("nan", 1, "not a number"),
        ("1 + inf", 5, "not a number"),
        ("and", 1, "where a value should"),
        ("1 and 2 > 1", 1, "1 is a number"),
        ("a > 1 and b", 11, "b is a number"),
        ("not a", 1, "a is a number"),
        ("-(a > 1)", 1, "is a condition"),
        ("1 + (a > 1)", 5, "is a condition"),
        ("abs(a > 1)", 5, "abs needs numbers"),
        ("sqr(2)", 1, "Did you mean sqrt?"),
        ("qqqqq(2)", 1, "Known are abs"),
        ("sqrt(1, 2)", 1, "takes one number, not 2"),
        ("max()", 5, "found ')'"),
        ("__import__('os')", 1, "unknown function"),
    ],
)
def test_a_bad_expression_is_refused_with_column_and_advice(text: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.column == column
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "1" + ")" * 4000, "-" * 9000 + "1", "1" + "+1" * 4000, "not " * 2000 + "a > 1"]
)
def test_what_is_too_deep_is_refused_and_never_exhausts_the_stack(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"nested|levels"):
        parse(text[:MAX_LENGTH])


def test_the_bounds_themselves_are_usable() -> None:
    assert evaluate(parse("(" * (MAX_DEPTH - 1) + "1" + ")" * (MAX_DEPTH - 1)), {}) == 1
    assert evaluate(parse("+".join(["1"] * MAX_HEIGHT)), {}) == MAX_HEIGHT
    assert evaluate(parse(" and ".join(["1 > 0"] * 1000)), {}) is True
    with pytest.raises(ExpressionError, match="at most"):
        parse("1" + " " * MAX_LENGTH)


# Conditions


@pytest.mark.parametrize(
    ("name", "when", "text"),
    [
        ("mean.a.x", 3, "mean.a.x == 3"),
        ("mean.a.x", -2.5, "mean.a.x == -2.5"),
        ("mean.a.x", "3", "mean.a.x == 3"),
        ("mean.a.x", "-3 * 2", "mean.a.x == -6"),
        ("mean.a.x", "> 5.5", "mean.a.x > 5.5"),
        ("mean.a.x", "= 3", "mean.a.x == 3"),
        ("mean.a.x", "> 5 and count.a.success >= 3", "mean.a.x > 5 and count.a.success >= 3"),
        ("", "mean.a.x > 5", "mean.a.x > 5"),
        ("mean.b.x", "mean.a.x > 5", "mean.a.x > 5"),
        ("mean.sleep-pending", "> 1", "mean.sleep-pending > 1"),
        ("mean.a.x > 5 and nodes.free > 0", None, "mean.a.x > 5 and nodes.free > 0"),
    ],
)
def test_name_and_when_together_mean(name: str, when: str | float | None, text: str) -> None:
    assert render(parse_condition(name, when)) == text


@pytest.mark.parametrize(
    ("name", "when", "column", "words"),
    [
        ("mean.a.x", None, 0, "`when` is missing"),
        ("", None, 0, "`when` is missing"),
        ("mean.a.x + 1", None, 0, "`when` is missing"),
        ("mean.a.x > ", None, 12, "found the end"),
        ("", 3, 0, "compares nothing"),
        ("", "> 3", 0, "compares nothing"),
        ("mean.a.x", True, 0, "not a condition"),
        ("mean.a.x", math.nan, 0, "not a finite number"),
        ("mean.a.x", math.inf, 0, "not a finite number"),
        ("mean.a.x", "> ", 3, "found the end"),
        ("mean.a.x", "> 5 and", 8, "found the end"),
        ("mean.a.x", "> 5 > 3", 5, "chained"),
        ("mean.a.x", "count.a.success", 1, "is a number, not a condition"),
        ("a + b", "> 3", 0, "not a metric path"),
        ("meen.a.x", "> 3", 1, "Did you mean mean?"),
    ],
)
def test_a_bad_condition_is_refused_and_its_column_counts_in_when(
    name: str, when: str | float | None, column: int, words: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(name, when)
    assert caught.value.column == column
    assert words in str(caught.value)


# Looking into a tree


def test_paths_and_names_come_in_order_and_once() -> None:
    expr = parse("b + a * max(b, c) > mean.y.z - mean.x.z / mean.y.z")
    assert names(expr) == ("b", "a", "c")
    assert [str(path) for path in paths(expr)] == ["mean.y.z", "mean.x.z"]


def test_every_path_of_an_expression_can_be_replaced() -> None:
    text = "not (-mean.a.x + 1 > max(mean.b.x, 2) or mean.a.x * y == 3)"
    expr = replace_paths(parse(text), lambda path: MetricPath(path.statistic, path.group.upper(), path.quantity))
    assert render(expr) == text.replace(".a.", ".A.").replace(".b.", ".B.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean.a.x > 5", ("mean.a.x", ">", 5)),
        ("5 > mean.a.x", ("mean.a.x", "<", 5)),
        ("5 >= mean.a.x", ("mean.a.x", "<=", 5)),
        ("5 < mean.a.x", ("mean.a.x", ">", 5)),
        ("5 <= mean.a.x", ("mean.a.x", ">=", 5)),
        ("3 == mean.a.x", ("mean.a.x", "==", 3)),
        ("mean.a.x != 2 * -max(3, 4)", ("mean.a.x", "!=", -8)),
        ("mean.a.x > 1 / 0", None),
        ("mean.a.x > mean.b.x", None),
        ("mean.a.x * 2 > 4", None),
        ("mean.a.x > y", None),
        ("not mean.a.x > 4", None),
        ("mean.a.x > 4 and mean.a.x < 9", None),
        ("1 > 2", None),
        ("mean.a.x", None),
    ],
)
def test_a_threshold_is_one_path_against_a_constant(text: str, expected: tuple[str, str, float] | None) -> None:
    found = threshold(parse(text))
    assert (found and (str(found[0]), found[1], found[2])) == expected


@given(st.sampled_from(("==", "!=", "<", "<=", ">", ">=")), st.booleans(), st.integers(-3, 3), st.integers(-3, 3))
def test_a_threshold_says_what_its_condition_says(op: str, swapped: bool, bound: int, value: int) -> None:
    expr = parse(f"{bound} {op} mean.a.x" if swapped else f"mean.a.x {op} {bound}")
    found = threshold(expr)
    assert found is not None
    path, normal, constant_ = found
    again = compile_expr(Compare(normal, path, _literal(constant_)), lambda _: lambda: float(value))
    assert compile_expr(expr, lambda _: lambda: float(value))() == again()


def _literal(value: float) -> Expr:
    return Negate(Number(-value)) if value < 0 else Number(value)


def test_constant_is_only_for_arithmetic_on_numbers() -> None:
    assert constant(parse("2 ** 10 - 24")) == 1000
    assert constant(parse("x")) is None
    assert constant(parse("1 > 0")) is None
    assert constant(parse("log(0)")) is None


# Words


def test_every_statistic_and_quantity_is_known_and_others_are_not() -> None:
    assert all(is_statistic(word) for word in (*STATISTICS, "derived", "p1", "p99", "rel_ci95"))
    assert not any(is_statistic(word) for word in ("p0", "p100", "avg", ""))
    assert all(is_quantity("count", word) for word in (*COUNTS, *QUANTITIES))
    assert is_quantity("mean", "pressure", ["pressure"])
    assert not is_quantity("mean", "success")
    assert not is_quantity("mean", "pressure")
    assert is_quantity("derived", "speedup", ["speedup"])
    assert not is_quantity("derived", "duration", ["speedup"])
    assert is_quantity("nodes", "free")
    assert not is_quantity("nodes", "sched")
    assert quantities("queue") == MEMBER_METRICS["queue"]
    assert nearest("presure", ("pressure", "duration")) == "pressure"
    assert nearest("xyz", ("pressure",)) == ""


def test_conditions_and_numbers_are_told_apart() -> None:
    assert is_condition(parse("a > 1 or b > 2"))
    assert not is_condition(parse("a + 1"))


@pytest.mark.parametrize(
    ("text", "known", "expected"),
    [
        ("mean.sleep-pending", ("sleep",), "mean.sleep.pending"),
        ("mean.a-b-node_hours", ("a", "a-b"), "mean.a-b.node_hours"),
        ("count.a-success", ("a",), "count.a.success"),
        ("mean.a-b-pressure", ("a", "a-b"), "mean.a-b.pressure"),
        ("mean.a.x", (), "mean.a.x"),
        ("nodes.free", (), "nodes.free"),
    ],
)
def test_the_older_spelling_is_cut_after_a_known_group(text: str, known: tuple[str, ...], expected: str) -> None:
    assert str(resolve_old(parse_path(text), known)) == expected


def test_an_older_spelling_without_a_known_group_names_the_nearest() -> None:
    with pytest.raises(ExpressionError, match=r"Did you mean mean\.sleep\.pending"):
        resolve_old(parse_path("mean.sleap-pending"), ("sleep",))
    with pytest.raises(ExpressionError, match="Write <statistic>"):
        resolve_old(parse_path("mean.qqq-pending"), ("sleep",))
