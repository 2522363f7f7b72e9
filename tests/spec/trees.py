"""Expressions at random, for the tests of the parser and of evaluation."""

from __future__ import annotations

from hypothesis import strategies as st

from ensemble.metrics import STATISTICS
from ensemble.spec.expressions import (
    ALL_POINTS,
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
from ensemble.spec.vocabulary import MEMBER_METRICS

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


def logic(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Not, inner),
        st.builds(_junction, st.sampled_from(("and", "or")), st.lists(inner, min_size=2, max_size=3)),
    )


def comparisons(operands: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.builds(Compare, st.sampled_from(("==", "!=", "<", "<=", ">", ">=")), operands, operands)


arithmetic = st.recursive(st.one_of(numbers, words.map(Name), metric_paths), _arithmetic, max_leaves=12)
conditions = st.recursive(comparisons(arithmetic), logic, max_leaves=8)
