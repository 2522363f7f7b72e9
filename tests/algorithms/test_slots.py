"""Drawing, spreading and submitting."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_world import Member, Point, World

from ensemble.algorithms import WorkloadSuccess
from ensemble.algorithms.shuffle import draws
from ensemble.algorithms.slots import slots, spread, submit, whole


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(0, 400), st.integers(0, 10**6))
def test_draws_take_each_thing_once_and_as_many_as_asked_for(counts, most, seed):
    picks = draws(Random(seed), counts, most)
    taken = Counter()
    for pile, count in picks:
        assert count > 0
        taken[pile] += count
    assert sum(taken.values()) == min(most, sum(counts))
    assert all(taken[pile] <= counts[pile] for pile in taken)
    assert all(one[0] != next_[0] for one, next_ in pairwise(picks))
    assert picks == draws(Random(seed), counts, most)


def test_draws_are_fair():
    """Each of 6 things comes first about as often: chi-square with 5 degrees of freedom, 99.99 % quantile."""
    random = Random(11)
    first = Counter()
    for _ in range(6000):
        pile, _ = draws(random, [1, 1, 1, 1, 1, 1], 1)[0]
        first[pile] += 1
    assert sum((first[pile] - 1000) ** 2 / 1000 for pile in range(6)) < 25.8


def test_a_batch_out_of_a_million_costs_what_the_batch_does():
    class Counting(Random):
        calls = 0

        def random(self):
            self.calls += 1
            return super().random()

    random = Counting(1)
    draws(random, [500_000, 500_000], 100)
    assert random.calls == 100


def world_of(**groups):
    return World(WorkloadSuccess(), groups=groups, members=[Member()])


def view_of(world):
    class View:
        groups, points, members = world.groups, world.points_view, world.members

    return View


@given(st.integers(1, 7), st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_spreading_over_points_stays_even_to_one_job(points, portions):
    world = world_of(g=[Point({"x": x}, 100) for x in range(points)])
    memory = {}
    for jobs in portions:
        for action in spread(view_of(world), whole(view_of(world), world.groups()[0]), jobs, memory):
            world._do(action)
        submitted = [point.submitted for point in world.points["g"]]
        assert max(submitted) - min(submitted) <= 1
    assert sum(submitted) == sum(portions)


def test_entries_of_one_name_without_axes_are_submitted_in_whole_rounds():
    world = world_of(g=[Point({}, 5), Point({}, 5)])
    (slot,) = slots(view_of(world), world.groups()[0])
    assert (slot.entries, slot.wanted, slot.left) == (2, 10, 10)
    world._do(submit(slot, 3))
    assert [point.submitted for point in world.points["g"]] == [2, 2]


@pytest.mark.parametrize(("values", "path"), [({}, "g"), ({"T": 1.1, "N": 2}, "g[T=1.1,N=2]")])
def test_a_slot_is_found_by_metric_paths(values, path):
    world = world_of(g=[Point(values, 1)])
    assert slots(view_of(world), world.groups()[0])[0].path == path
