"""Expressions: what is read, what is refused, and that text, tree and closure agree."""

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
    Apply,
    Arithmetic,
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
    constant,
    evaluate,
    explain,
    is_condition,
    is_quantity,
    is_statistic,
    names,
    nearest,
    parse,
    parse_condition,
    parse_path,
    parts,
    paths,
    quantities,
    readings,
    render,
    replace_paths,
    resolve_old,
    threshold,
)
from ensemble.spec.vocabulary import MEMBER_METRICS, QUANTITIES

words = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(
    lambda word: word not in ("and", "or", "not", "true", "false", "nan", "inf")
)
groups = st.one_of(words, st.from_regex(r"[a-z0-9]{1,4}(-[a-z0-9]{1,3}){0,2}", fullmatch=True), st.just("*"))
axis_values = st.one_of(
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
points = st.one_of(
    st.just(()), st.just(ALL_POINTS), st.dictionaries(words, axis_values, max_size=3).map(lambda d: tuple(d.items()))
)
metric_paths = st.one_of(
    st.builds(MetricPath, st.sampled_from((*STATISTICS, "derived")), groups, words, points),
    st.builds(MetricPath, st.sampled_from(tuple(STATISTICS)), st.just("sleep-pending"), st.just("")),
    st.sampled_from(sorted(MEMBER_METRICS)).flatmap(
        lambda head: st.builds(
            MetricPath,
            st.just(head),
            st.sampled_from(("", "local", "my-member")),
            st.sampled_from(MEMBER_METRICS[head]),
        )
    ),
)
numbers = st.one_of(st.integers(0, 10**25), st.floats(0, allow_infinity=False)).map(Number)


def _arithmetic(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Negate, inner),
        st.builds(Arithmetic, st.sampled_from(("+", "-", "*", "/", "//", "%", "**")), inner, inner),
        st.builds(lambda f, a: Apply(f, (a,)), st.sampled_from(("abs", "sqrt", "log", "exp", "floor", "round")), inner),
        st.builds(
            lambda f, a: Apply(f, tuple(a)), st.sampled_from(("min", "max")), st.lists(inner, min_size=1, max_size=3)
        ),
    )


def _junction(op: str, parts: list[Expr]) -> Expr:
    """Flat, as the parser makes them."""
    flat: list[Expr] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Junction) and part.op == op else (part,))
    return Junction(op, tuple(flat))  # type: ignore[arg-type]


def _logic(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Not, inner),
        st.builds(_junction, st.sampled_from(("and", "or")), st.lists(inner, min_size=2, max_size=3)),
    )


def _comparisons(operands: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.builds(Compare, st.sampled_from(("==", "!=", "<", "<=", ">", ">=")), operands, operands)


arithmetic = st.recursive(st.one_of(numbers, words.map(Name), metric_paths), _arithmetic, max_leaves=12)
conditions = st.recursive(_comparisons(arithmetic), _logic, max_leaves=8)


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


# Three-valued evaluation

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


simple = _comparisons(st.one_of(st.integers(0, 2).map(Number), st.sampled_from("abc").map(Name)))


@given(
    st.recursive(simple, _logic, max_leaves=10),
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
