"""`select-fastest-runtime` and `select-longest-runtime`: fair until they know, then by expectation."""

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
from small_world import Member, Point, World

from ensemble.algorithms import SelectFastestRuntime, SelectLongestRuntime

SECONDS = {"slow": 9.0, "quick": 1.0, "middle": 4.0}


def by_name(job, random):
    return SECONDS[job.group] * (0.9 + 0.2 * random.random()), True


def groups(count=20):
    return {name: [Point({}, count)] for name in SECONDS}


def names(world):
    return [job.group for job in world.order]


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [(SelectFastestRuntime, ["quick", "middle", "slow"]), (SelectLongestRuntime, ["slow", "middle", "quick"])],
)
def test_when_all_are_known_the_rest_comes_in_order_of_expected_duration(algorithm, expected):
    world = World(algorithm(), {"minimum": 3}, groups=groups(), members=[Member(nodes=1)], runs=by_name).run()
    assert Counter(names(world)) == dict.fromkeys(SECONDS, 20)
    explored = names(world)[:11]
    assert all(explored.count(name) >= 3 for name in SECONDS)
    assert [name for name, _ in groupby(names(world)[11:])] == expected


def test_until_all_are_known_the_choice_is_fair():
    world = World(SelectFastestRuntime(), {"minimum": 5}, groups=groups(), members=[Member(nodes=1)], runs=by_name)
    world.run(until=4.5)
    counts = Counter(names(world))
    assert max(counts.values()) - min(counts.get(name, 0) for name in SECONDS) <= 1


@pytest.mark.parametrize("ahead", [1, 4])
def test_only_so_many_jobs_wait_and_no_node_idles(ahead):
    world = World(SelectFastestRuntime(), {"ahead": ahead}, groups=groups(), members=[Member(nodes=6)], runs=by_name)
    idle = []

    def check(world):
        assert len(world.queue) <= ahead

    world.checks = check
    world._fire(lambda rule: rule.trigger == "start")
    world._settle()
    while world.running:
        if sum(point.left for point in map(Left, world.points.values())) and len(world.running) < 6:
            idle.append(world.clock)
        world.clock = min(job.until for job in world.running)
        world._happen()
    assert idle == []
    assert len(world.order) == 60


class Left:
    def __init__(self, points):
        self.left = sum(point.count - point.submitted for point in points)


def test_the_ceiling_holds():
    options = {"atOnce": 3, "ahead": 10}
    world = World(SelectLongestRuntime(), options, groups=groups(), members=[Member(nodes=50)], runs=by_name).run()
    assert world.most_active == 3
    assert len(world.order) == 60


def test_a_group_whose_jobs_all_fail_does_not_stand_in_the_way_for_ever():
    world = World(
        SelectFastestRuntime(),
        groups=groups(),
        members=[Member(nodes=2)],
        runs=lambda job, random: (1.0, job.group != "slow"),
    ).run()
    assert Counter(names(world)) == dict.fromkeys(SECONDS, 20)


def test_points_are_taken_in_file_order_each_by_its_count():
    sweep = {"g": [Point({"x": x}, count) for x, count in ((1, 2), (2, 0), (3, 3))]}
    world = World(SelectFastestRuntime(), {"ahead": 2}, groups=sweep, members=[Member(nodes=1)]).run()
    assert [job.point.values["x"] for job in world.order] == [1, 1, 3, 3, 3]


def test_by_point_every_point_has_a_model_of_its_own():
    sweep = {"g": [Point({"x": x}, 10) for x in (3, 1, 2)]}
    world = World(
        SelectFastestRuntime(),
        {"by": "point", "minimum": 2},
        groups=sweep,
        members=[Member(nodes=1)],
        runs=lambda job, random: (float(job.point.values["x"]), True),
    ).run()
    assert [x for x, _ in groupby(job.point.values["x"] for job in world.order[8:])] == [1, 2, 3]


def test_jobs_that_others_submitted_beyond_the_file_do_no_harm():
    sweep = {"g": [Point({"x": 1}, 2, submitted=5, success=5), Point({"x": 2}, 9, submitted=3, success=3)]}
    world = World(SelectFastestRuntime(), {"ahead": 50}, groups=sweep).run()
    assert {job.point.values["x"] for job in world.order} == {2}
    assert len(world.order) == 3  # 11 in the file, 8 submitted before
    full = {"g": [Point({"x": 1}, 2, submitted=0), Point({"x": 2}, 3, submitted=3, success=3)]}
    assert len(World(SelectFastestRuntime(), {"ahead": 50}, groups=full).run().order) == 2


def test_entries_of_one_name_are_one_choice():
    world = World(SelectLongestRuntime(), groups={"g": [Point({}, 3), Point({}, 3)]}).run()
    assert [point.submitted for point in world.points["g"]] == [3, 3]


def test_the_longest_first_is_done_sooner_than_the_shortest_first():
    def makespan(algorithm):
        jobs = {f"g{n}": [Point({"n": n}, 6)] for n in (1, 2, 4, 8, 30)}
        runs = lambda job, random: (float(job.point.values["n"]), True)  # noqa: E731
        return World(algorithm, {"minimum": 1}, groups=jobs, members=[Member(nodes=4)], runs=runs).run().clock

    assert makespan(SelectLongestRuntime()) < makespan(SelectFastestRuntime())


def test_counts_that_do_not_add_up_end_in_fewer_jobs_not_in_a_crash():
    class Odd(World):
        def _group(self, name):
            group = super()._group(name)
            return replace(group, count=group.count + 5)

    world = Odd(SelectFastestRuntime(), {"ahead": 50}, groups={"g": [Point({"x": x}, 2) for x in range(3)]}).run()
    assert len(world.order) == 6


def test_as_many_jobs_of_a_sweep_are_chosen_at_once_as_the_queue_lacks():
    sweep = {"g": [Point({"x": x}, 3) for x in range(5)]}
    world = World(SelectFastestRuntime(), {"ahead": 7}, groups=sweep, members=[Member(nodes=1)])
    world._fire(lambda rule: rule.trigger == "start")
    assert [job.point.values["x"] for job in world.order] == [0, 0, 0, 1, 1, 1, 2]
