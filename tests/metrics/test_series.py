"""The series' promises: right numbers, the same ones whenever they are read, merged or restored."""

import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.metrics import EWMA_WEIGHT, RELATIVE_ERROR, STATISTICS, Series, student_975

finite = st.floats(min_value=-1e12, max_value=1e12)
durations = st.floats(min_value=1e-6, max_value=1e6)
many = st.lists(finite, max_size=200)


def series_of(data) -> Series:
    series = Series()
    for value in data:
        series.add(value)
    return series


def everything(series: Series) -> list[float | None]:
    return [series.stat(name) for name in STATISTICS]


def close(a, b, scale) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * scale)


def test_the_statistics_are_those_of_the_design():
    percentiles = {f"p{percent}" for percent in range(1, 100)}
    assert set(STATISTICS) == percentiles | {
        *("count", "sum", "mean", "variance", "std", "sem", "ci95", "rel_ci95"),
        *("min", "max", "ewma", "median", "iqr", "mad"),
    }
    assert len(set(STATISTICS)) == len(STATISTICS)


@given(st.lists(finite, min_size=2, max_size=200))
def test_moments_agree_with_the_textbook(data):
    series = series_of(data)
    scale = max(abs(value) for value in data) + 1e-300
    assert series.stat("count") == len(data) == series.count
    assert close(series.stat("sum"), math.fsum(data), scale * len(data))
    assert close(series.stat("mean"), statistics.fmean(data), scale)
    variance = statistics.variance(data)
    assert close(series.stat("variance"), variance, scale * scale)
    assert close(series.stat("std"), math.sqrt(variance), scale * 100)
    assert close(series.stat("sem"), math.sqrt(variance / len(data)), scale * 100)
    assert series.stat("min") == min(data)
    assert series.stat("max") == max(data)
    assert series.stat("ci95") == student_975(len(data) - 1) * series.stat("sem")
    if series.stat("mean"):
        relative = series.stat("ci95") / abs(series.stat("mean"))
        assert series.stat("rel_ci95") == (relative if math.isfinite(relative) else None)


def test_the_confidence_interval_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed: ci95 checked by its parts only")
    data = [12.1, 11.7, 12.9, 12.4, 11.2, 13.0, 12.2]
    low, high = stats.t.interval(0.95, len(data) - 1, statistics.fmean(data), stats.sem(data))
    assert series_of(data).stat("ci95") == pytest.approx((high - low) / 2, rel=1e-7)


def test_numpy_agrees_on_ten_thousand_values():
    numpy = pytest.importorskip("numpy", reason="numpy is not installed: checked against the standard library only")
    data = numpy.random.default_rng(3).lognormal(1.0, 1.0, 10_000)
    series = series_of(data.tolist())
    assert series.stat("mean") == pytest.approx(data.mean(), rel=1e-12)
    assert series.stat("variance") == pytest.approx(data.var(ddof=1), rel=1e-12)
    for percent in range(1, 100):
        assert series.stat(f"p{percent}") == pytest.approx(numpy.percentile(data, percent), rel=RELATIVE_ERROR)
    low, median, high = numpy.percentile(data, [25, 50, 75])
    assert series.stat("iqr") == pytest.approx(high - low, abs=RELATIVE_ERROR * (low + high))
    mad = numpy.median(abs(data - median))
    assert series.stat("mad") == pytest.approx(mad, abs=RELATIVE_ERROR * (2 * median + mad) + 1e-3)


def test_a_tiny_spread_on_a_huge_offset_keeps_its_variance():
    data = [1e9 + value for value in (4.0, 7.0, 13.0, 16.0)] * 1000
    assert series_of(data).stat("variance") == pytest.approx(statistics.variance(data), rel=1e-9)


@given(st.lists(durations, min_size=1, max_size=200))
def test_mad_is_within_its_stated_bound(data):
    series = series_of(data)
    median = statistics.median(data)
    distances = sorted(abs(value - median) for value in data)
    mad = distances[(len(data) - 1) // 2]
    assert abs(series.stat("mad") - mad) <= RELATIVE_ERROR * (2 * abs(median) + mad) * (1 + 1e-9)


@given(st.lists(finite, min_size=1, max_size=100))
def test_ewma_is_the_recursion(data):
    expected = data[0]
    for value in data[1:]:
        expected += EWMA_WEIGHT * (value - expected)
    assert series_of(data).stat("ewma") == pytest.approx(expected, rel=1e-9, abs=1e-3)


@given(st.lists(finite, min_size=1, max_size=200))
def test_no_quantile_lies_outside_the_extremes_and_they_rise(data):
    series = series_of(data)
    quantiles = [series.stat(f"p{percent}") for percent in range(1, 100)]
    assert quantiles == sorted(quantiles)
    assert min(data) <= quantiles[0]
    assert quantiles[-1] <= max(data)
    assert series.stat("median") == series.stat("p50")


def test_equal_values_have_exact_quantiles():
    series = series_of([3.7] * 10)
    assert (series.stat("median"), series.stat("p99"), series.stat("iqr"), series.stat("mad")) == (3.7, 3.7, 0.0, 0.0)
    assert series.stat("variance") == 0.0


@given(many, st.lists(st.tuples(st.integers(0, 199), st.sampled_from(tuple(STATISTICS)))), st.sets(st.integers(0, 199)))
def test_when_statistics_are_read_or_saved_changes_no_bit(data, reads, saves):
    """A replay from a snapshot reads at other moments than the live run did, and must decide the same."""
    disturbed = Series()
    for index, value in enumerate(data):
        disturbed.add(value)
        for _, name in (read for read in reads if read[0] == index):
            disturbed.stat(name)
        if index in saves:
            disturbed = Series.from_state(json.loads(json.dumps(disturbed.state())))
    undisturbed = series_of(data)
    assert everything(disturbed) == everything(undisturbed)
    assert json.dumps(disturbed.state()) == json.dumps(undisturbed.state())


@given(many)
def test_a_saved_series_goes_on_to_the_same_bits(data):
    first = series_of(data)
    second = Series.from_state(json.loads(json.dumps(first.state(), allow_nan=False)))
    for series in (first, second):
        for value in (3.5, -2, 0.0, 1e-7):
            series.add(value)
    assert everything(first) == everything(second)


@given(many, many, many)
def test_merging_equals_adding_one_by_one(a, b, c):
    merged = series_of(a)
    merged.merge(series_of(b))
    merged.merge(series_of(c))
    whole = series_of([*a, *b, *c])
    scale = max((abs(value) for value in (*a, *b, *c)), default=0.0)
    for name in STATISTICS:
        got, expected = merged.stat(name), whole.stat(name)
        if name in ("count", "min", "max") or got is None or expected is None:
            assert got == expected or name == "rel_ci95"
        elif name == "variance":
            assert close(got, expected, scale * scale)
        elif name in ("std", "sem", "ci95"):
            assert abs(got - expected) <= 1e-4 * scale
        elif name not in ("rel_ci95", "mad"):
            assert close(got, expected, scale * 100)
    assert merged.sketch().state() == whole.sketch().state()


@given(many, many, many)
def test_counts_extremes_and_quantiles_merge_associatively(a, b, c):
    left = series_of(a)
    left.merge(series_of(b))
    left.merge(series_of(c))
    tail = series_of(b)
    tail.merge(series_of(c))
    right = series_of(a)
    right.merge(tail)
    for name in ("count", "min", "max", "median", "p5", "p95", "iqr", "mad"):
        assert left.stat(name) == right.stat(name)


def test_merging_leaves_the_other_as_it_was():
    other = series_of([1.0, 2.0])
    before = other.state()
    for mine in (Series(), series_of([5.0])):
        mine.merge(other)
        mine.add(9.0)
    assert other.state() == before


def test_of_nothing_only_count_and_sum_are_known():
    assert {name for name in STATISTICS if Series().stat(name) is not None} == {"count", "sum"}


def test_of_one_value_there_is_no_spread():
    series = series_of([2.5])
    unknown = [name for name in STATISTICS if series.stat(name) is None]
    assert unknown == ["variance", "std", "sem", "ci95", "rel_ci95"]
    assert series.stat("median") == series.stat("ewma") == series.stat("mean") == 2.5


def test_a_mean_of_zero_has_no_relative_interval():
    series = series_of([-1.0, 1.0])
    assert series.stat("ci95") is not None
    assert series.stat("rel_ci95") is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_left_out(bad):
    series = series_of([1.0, bad, 2.0])
    assert everything(series) == everything(series_of([1.0, 2.0]))


def test_an_overflow_is_unknown_and_stays_so_across_a_save():
    series = series_of([1e308, 1e308, -1e308])
    saved = json.loads(json.dumps(series.state(), allow_nan=False))
    restored = Series.from_state(saved)
    for each in (series, restored):
        each.add(1.0)
        assert each.stat("sum") is None
        assert each.stat("variance") is None
        assert each.stat("max") == 1e308
        assert each.stat("median") is not None
    assert everything(series) == everything(restored)


def test_integers_and_negative_zero_are_stored_as_plain_floats():
    assert json.dumps(series_of([3, -0.0]).state()) == json.dumps(series_of([3.0, 0.0]).state())


def test_an_unknown_statistic_is_a_key_error():
    with pytest.raises(KeyError):
        Series().stat("p100")


def test_a_read_after_every_value_does_no_more_work_for_a_longer_series():
    """Counted, not timed: values looked at again would show as pending."""
    series = Series()
    for value in range(1, 5000):
        series.add(float(value))
        assert series.stat("mean") == pytest.approx((value + 1) / 2)
        assert len(series._pending) < 64
