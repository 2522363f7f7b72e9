"""The sketch's promises: 1 %, whatever the order, the sign, the magnitude, the number of buckets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.metrics import RELATIVE_ERROR, Sketch
from ensemble.metrics.sketch import _CENTRES, _EDGES, MAX_BUCKETS, bucket_of, value_of

normal = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
positive = st.floats(min_value=1e-300, max_value=1e300)
values = st.lists(normal, max_size=200)


def sketch_of(data) -> Sketch:
    sketch = Sketch()
    sketch.extend(list(data))
    return sketch


def test_the_edges_are_the_35th_roots_of_two_rounded_down():
    steps, bits = 35, 53
    for k, edge in enumerate(_EDGES, start=1):
        numerator = edge * 2**bits
        assert numerator == int(numerator)
        target = 1 << (k - steps + bits * steps)
        assert int(numerator) ** steps <= target < (int(numerator) + 1) ** steps


def test_each_centre_is_within_the_stated_error_of_its_whole_bucket():
    lows, highs = (0.5, *_EDGES), (*_EDGES, 1.0)
    for low, centre, high in zip(lows, _CENTRES, highs, strict=True):
        assert max(centre - low, 0) / low < RELATIVE_ERROR
        assert (high - centre) / high < RELATIVE_ERROR


@given(normal)
def test_a_value_is_represented_within_one_percent(value):
    assert abs(value_of(bucket_of(value)) - value) <= RELATIVE_ERROR * abs(value)


@given(normal, normal)
def test_codes_order_as_values_do(a, b):
    assert not (a < b and bucket_of(a) > bucket_of(b))


@pytest.mark.parametrize("tiny", [5e-324, -5e-324, 2.2e-308])
def test_the_smallest_doubles_have_a_bucket(tiny):
    assert abs(value_of(bucket_of(tiny)) - tiny) <= RELATIVE_ERROR * abs(tiny) + 5e-324


@given(st.lists(positive, min_size=1, max_size=300), st.floats(0, 1))
def test_a_quantile_is_within_one_percent_of_the_interpolated_one(data, q):
    estimate = sketch_of(data).quantile(q)
    place = q * (len(data) - 1)
    ordered = sorted(data)
    low, fraction = ordered[int(place)], place - int(place)
    exact = low if not fraction else low * (1 - fraction) + ordered[int(place) + 1] * fraction
    assert abs(estimate - exact) <= RELATIVE_ERROR * exact


@given(st.lists(normal, min_size=1, max_size=300), st.floats(0, 1))
def test_with_both_signs_the_error_is_bounded_by_the_larger_neighbour(data, q):
    estimate = sketch_of(data).quantile(q)
    place = q * (len(data) - 1)
    ordered = sorted(data)
    low, fraction = ordered[int(place)], place - int(place)
    high = low if not fraction else ordered[int(place) + 1]
    exact = low * (1 - fraction) + high * fraction
    assert abs(estimate - exact) <= RELATIVE_ERROR * max(abs(low), abs(high)) * (1 + 1e-12)


@given(st.lists(st.tuples(normal, st.sampled_from([0.0, 0.05, 0.5, 0.95, 0.99, 1.0])), max_size=300))
def test_reading_between_additions_changes_nothing(steps):
    """The cursors that make re-reading cheap must give what a fresh sketch gives."""
    sketch = Sketch()
    seen = []
    for value, q in steps:
        sketch.add(value)
        seen.append(value)
        assert sketch.quantile(q) == sketch_of(seen).quantile(q)


@given(values, values, values)
def test_merging_is_associative_and_commutative_and_equal_to_one_sketch(a, b, c):
    left = sketch_of(a)
    left.merge(sketch_of(b))
    left.merge(sketch_of(c))
    right = sketch_of(c)
    tail = sketch_of(b)
    tail.merge(right)
    tail.merge(sketch_of(a))
    assert left.state() == tail.state() == sketch_of([*a, *b, *c]).state()
    assert left.count == len(a) + len(b) + len(c)


@given(values)
def test_a_sketch_survives_its_own_state(data):
    sketch = sketch_of(data)
    twin = Sketch.from_state(sketch.state())
    assert twin.state() == sketch.state()
    assert twin.count == sketch.count == len(data)
    assert twin.quantile(0.3) == sketch.quantile(0.3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_too_many_buckets_cost_accuracy_only_nearest_to_zero(sign):
    generator = random.Random(5)
    data = [sign * 2.0**exponent for exponent in range(-1000, 1000) for _ in range(1)]
    data += [sign * 2.0**exponent * 1.5 for exponent in range(-1000, 1000)]
    generator.shuffle(data)
    sketch = sketch_of(data)
    assert len(sketch.state()) // 2 == MAX_BUCKETS
    assert sketch.count == len(data)
    ordered = sorted(data, key=abs)
    for rank in range(len(data) - MAX_BUCKETS + 1, len(data)):
        q = rank / (len(data) - 1) if sign > 0 else 1 - rank / (len(data) - 1)
        estimate, exact = sketch.quantile(q), ordered[rank]
        assert abs(estimate - exact) <= 2.1 * abs(exact)  # q is rounded: a neighbouring rank at the worst
    assert value_of(sketch.state()[-2 if sign > 0 else 0]) == pytest.approx(ordered[-1], rel=RELATIVE_ERROR)


def test_collapsing_depends_neither_on_order_nor_on_merging():
    data = [2.0**exponent * factor for exponent in range(-900, 900) for factor in (1.0, 1.3)]
    data += [-value for value in data]
    whole = sketch_of(data).state()
    assert len(whole) // 2 == 2 * MAX_BUCKETS
    shuffled = list(data)
    random.Random(1).shuffle(shuffled)
    assert sketch_of(shuffled).state() == whole
    part = sketch_of(shuffled[:3000])
    part.merge(sketch_of(shuffled[3000:]))
    assert part.state() == whole
    assert part.quantile(0.5) == Sketch.from_state(whole).quantile(0.5)


def test_reading_while_buckets_collapse_stays_right():
    data = [2.0**exponent * factor for exponent in range(1000, -1000, -1) for factor in (1.0, 1.3)]
    sketch = Sketch()
    for number, value in enumerate(data):
        sketch.add(value)
        if number % 50 == 0:
            fresh = Sketch.from_state(sketch.state())
            assert [sketch.quantile(q) for q in (0.01, 0.5, 0.9)] == [fresh.quantile(q) for q in (0.01, 0.5, 0.9)]


def test_more_quantiles_than_are_kept_track_of_are_still_right():
    sketch = Sketch()
    for value in range(1, 500):
        sketch.add(float(value))
        for percent in range(0, 101, 7):
            expected = 1 + percent / 100 * (value - 1)
            assert sketch.quantile(percent / 100) == pytest.approx(expected, rel=RELATIVE_ERROR)


def test_an_empty_sketch_has_no_quantile():
    assert Sketch().quantile(0.5) is None


@given(values, st.integers(2, 5))
def test_adding_one_value_several_times_is_adding_it_that_often(data, times):
    counted = Sketch()
    for value in data:
        counted.add(value, times)
    assert counted.state() == sketch_of(data * times).state()
    assert counted.count == times * len(data)
