"""`workload-success`: enough good results, and never more under way than are missing and `ahead`."""

import pytest
from small_world import Member, Point, World

from ensemble.algorithms import WorkloadSuccess


def sometimes(share):
    return lambda job, random: (1.0 + random.random(), random.random() < share)


def never_too_many(wanted, ahead):
    def check(world):
        for name, points in world.points.items():
            active = sum(job.group == name for job in world.queue + world.running)
            missing = max(0, wanted - sum(point.success for point in points))
            assert active <= missing + ahead

    return check


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_each_group_gets_its_successes_and_no_job_too_many_is_under_way(ahead, share):
    groups = {"a": [Point({}, 1)], "b": [Point({"x": x}, 1) for x in range(3)]}
    options = {"successes": 20, "ahead": ahead, "maxJobs": 10_000}
    world = World(WorkloadSuccess(), options, groups=groups, members=[Member(nodes=7)], runs=sometimes(share))
    world.checks = never_too_many(20, ahead)
    world.run()
    for name in groups:
        good = sum(point.success for point in world.points[name])
        assert 20 <= good <= 20 + ahead


def test_with_nothing_ahead_not_one_good_result_is_surplus():
    world = World(WorkloadSuccess(), {"successes": 50}, groups={"a": [Point({}, 1)]}, runs=sometimes(0.5)).run()
    assert world.points["a"][0].success == 50


def test_a_success_asks_for_nothing_and_a_failure_for_its_replacement():
    world = World(WorkloadSuccess(), {"successes": 30}, groups={"a": [Point({}, 1)]}, runs=sometimes(0.5)).run()
    assert world.firings["failed"] == world.points["a"][0].failed


def test_the_count_of_the_file_is_what_is_wanted_by_default():
    groups = {"a": [Point({}, 4)], "b": [Point({"x": x}, 3) for x in range(2)]}
    world = World(WorkloadSuccess(), groups=groups, runs=sometimes(0.6)).run()
    assert [sum(point.success for point in points) for points in world.points.values()] == [4, 6]


def test_per_point_each_point_gets_its_own():
    groups = {"b": [Point({"x": x}, 3) for x in range(4)]}
    world = World(WorkloadSuccess(), {"per": "point", "successes": 5}, groups=groups, runs=sometimes(0.5)).run()
    assert [point.success for point in world.points["b"]] == [5, 5, 5, 5]


def test_per_group_the_points_take_turns():
    groups = {"b": [Point({"x": x}, 1) for x in range(4)]}
    world = World(WorkloadSuccess(), {"successes": 10}, groups=groups).run()
    assert [point.submitted for point in world.points["b"]] == [3, 3, 2, 2]


@pytest.mark.parametrize(("options", "jobs"), [({}, 50), ({"maxJobs": 7}, 7)])
def test_a_program_that_never_succeeds_is_given_up(options, jobs):
    world = World(
        WorkloadSuccess(), {"successes": 5, **options}, groups={"a": [Point({}, 1)]}, runs=sometimes(0.0)
    ).run()
    assert len(world.order) == jobs


def test_the_ceiling_holds_over_all_groups_and_still_everything_is_reached():
    groups = {"a": [Point({}, 1)], "b": [Point({}, 1)]}
    options = {"successes": 12, "atOnce": 5}
    world = World(WorkloadSuccess(), options, groups=groups, members=[Member(nodes=50)], runs=sometimes(0.7)).run()
    assert world.most_active == 5
    assert [point[0].success for point in world.points.values()] == [12, 12]


def test_results_from_before_a_switch_count():
    groups = {"a": [Point({}, 1, submitted=8, success=8)]}
    world = World(WorkloadSuccess(), {"successes": 10}, groups=groups).run()
    assert len(world.order) == 2
