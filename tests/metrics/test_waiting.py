"""Waiting jobs count once, at their present age."""

import json
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ensemble.metrics import RELATIVE_ERROR, STATISTICS, PendingSeries, Series, Waiting

START = 1_790_000_000.0


class Naive(RuleBasedStateMachine):
    """Against a list of waits and a list of finished ones, recomputed from scratch."""

    def __init__(self) -> None:
        super().__init__()
        self.series = PendingSeries()
        self.waiting: list[int] = []
        self.finished: list[float] = []
        self.now = 0  # milliseconds

    def clock(self, milliseconds: int) -> float:
        return START + milliseconds / 1000

    @rule(count=st.integers(1, 5), delay=st.integers(0, 5000))
    def enter(self, count, delay):
        self.now += delay
        self.series.enter(self.clock(self.now), count)
        self.waiting += [self.now] * count

    @precondition(lambda self: self.now > 100)
    @rule(back=st.integers(1, 100))
    def enter_out_of_order(self, back):
        self.series.enter(self.clock(self.now - back))
        self.waiting.append(self.now - back)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 10**6), delay=st.integers(0, 5000))
    def finish(self, pick, delay):
        self.now += delay
        entered = self.waiting.pop(pick % len(self.waiting))
        wait = (self.now - entered) / 1000
        self.series.finish(self.clock(entered), wait)
        self.finished.append(wait)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 10**6))
    def leave(self, pick):
        self.series.leave(self.clock(self.waiting.pop(pick % len(self.waiting))))

    @rule()
    def save(self):
        self.series = PendingSeries.from_state(json.loads(json.dumps(self.series.state())))

    @invariant()
    def every_wait_counts_once(self):
        now = self.clock(self.now)
        waits = self.finished + [(self.now - entered) / 1000 for entered in self.waiting]
        assert self.series.stat("count", now) == len(waits)
        assert self.series.waiting.count == len(self.waiting)
        if not waits:
            assert self.series.stat("mean", now) is None
            return
        assert self.series.stat("mean", now) == pytest.approx(statistics.fmean(waits), abs=1e-9)
        assert self.series.stat("sum", now) == pytest.approx(sum(waits), abs=1e-7)
        assert self.series.stat("min", now) == pytest.approx(min(waits), abs=1e-9)
        assert self.series.stat("max", now) == pytest.approx(max(waits), abs=1e-9)
        median = statistics.median(waits)
        assert self.series.stat("median", now) == pytest.approx(median, rel=RELATIVE_ERROR, abs=1e-9)
        if len(waits) > 1:
            assert self.series.stat("variance", now) == pytest.approx(statistics.variance(waits), abs=1e-6)


TestNaive = Naive.TestCase
TestNaive.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


times = st.lists(st.integers(0, 10**12), min_size=1, max_size=60)


@given(times, st.randoms(use_true_random=False))
def test_sums_are_exact_whatever_the_order(entries, shuffler):
    """A float sum that grows and shrinks would drift; this one must not."""
    one, other = Waiting(), Waiting()
    for entry in entries:
        one.enter(START + entry / 1e6)
    shuffled = entries * 2
    shuffler.shuffle(shuffled)
    for entry in shuffled:
        other.enter(START + entry / 1e6)
    shuffler.shuffle(entries)
    for entry in entries:
        other.leave(START + entry / 1e6)
    assert one.state() == other.state()
    later = START + 2e6
    assert [getattr(one.moments(later), name) for name in ("count", "total", "mean", "m2", "low", "high")] == [
        getattr(other.moments(later), name) for name in ("count", "total", "mean", "m2", "low", "high")
    ]


def test_when_a_quantile_is_read_changes_no_bit():
    quiet, watched = PendingSeries(), PendingSeries()
    for step in range(300):
        for series in (quiet, watched):
            series.enter(START + step)
            if step % 3 == 2:
                series.finish(START + step - 1, 0.1 * step)
        for name in ("median", "mad", "mean"):
            watched.stat(name, START + step)
    assert watched.state() == quiet.state()
    assert [watched.stat(name, START + 301) for name in STATISTICS] == [
        quiet.stat(name, START + 301) for name in STATISTICS
    ]


def test_the_mean_wait_grows_with_time_alone():
    series = PendingSeries()
    series.enter(START, count=3)
    assert series.stat("mean", START + 4.5) == 4.5
    assert series.stat("mean", START + 5.5) == 5.5
    assert series.stat("count", START + 5.5) == 3


def test_ewma_looks_at_ended_waits_only():
    series = PendingSeries()
    series.enter(START, count=2)
    assert series.stat("ewma", START + 9) is None
    series.finish(START, 4.0)
    assert series.stat("ewma", START + 9) == 4.0


def test_with_nobody_waiting_it_is_the_series_of_finished_waits():
    series, plain = PendingSeries(), Series()
    for wait in (1.0, 4.0, 2.5):
        series.enter(START)
        series.finish(START, wait)
        plain.add(wait)
    assert [series.stat(name, START) for name in STATISTICS] == [plain.stat(name) for name in STATISTICS]


def test_no_age_is_negative():
    waiting = Waiting()
    waiting.enter(START)
    waiting.enter(START + 10)
    moments = waiting.moments(START + 4)
    assert (moments.low, moments.high) == (0.0, 10.0)
    assert waiting.ages(START + 4) == [(10.0, 1), (0.0, 1)]


def test_leaving_without_having_entered_is_a_key_error():
    series = PendingSeries()
    series.enter(START)
    for call in (lambda: series.leave(START + 1), lambda: series.finish(START + 1, 0.0)):
        with pytest.raises(KeyError):
            call()
    series.leave(START)
    with pytest.raises(KeyError):
        series.leave(START)
    assert series.stat("count", START) == 0


def test_a_time_that_comes_back_after_everybody_left_is_counted():
    waiting = Waiting()
    for at in (1.0, 2.0, 3.0):
        waiting.enter(at)
    assert waiting.moments(5.0).high == 4.0
    waiting.leave(1.0)
    waiting.leave(3.0)
    assert (waiting.moments(5.0).low, waiting.moments(5.0).high) == (3.0, 3.0)
    waiting.enter(1.0)
    waiting.enter(3.0)
    assert waiting.ages(5.0) == [(4.0, 1), (3.0, 1), (2.0, 1)]


def test_times_nobody_waits_since_are_not_kept_for_ever():
    waiting = Waiting()
    for step in range(10_000):
        waiting.enter(START + step)
        if step >= 10:
            waiting.leave(START + step - 10)
    assert len(waiting._times) < 64
    assert waiting.moments(START + 10_000).high == 10.0


@given(st.lists(st.tuples(st.integers(0, 2 * 10**15), st.integers(1, 9)), max_size=30))
def test_entries_can_be_entered_again_to_the_microsecond(entries):
    waiting, copy = Waiting(), Waiting()
    for microseconds, count in entries:
        waiting.enter(microseconds / 1e6, count)
    for at, count in waiting.entries():
        copy.enter(at, count)
    assert copy.state() == waiting.state()


def test_of_nobody_waiting_there_are_no_ages():
    waiting = Waiting()
    assert waiting.ages(START) == []
    assert waiting.moments(START).count == 0
