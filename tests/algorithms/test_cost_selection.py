"""`cost-selection`: results where a good one costs least, known after a few tries."""

from collections import Counter

import pytest
from small_world import Member, Point, World

from ensemble.algorithms import CostSelection


def members(**changes):
    made = [Member("cpu", nodes=8, price=1.0), Member("gpu", nodes=8, price=6.0)]
    for member in made:
        for key, value in changes.get(member.name, {}).items():
            setattr(member, key, value)
    return made


def by_axis(count=40):
    return {"md": [Point({"where": name}, count, nodes=1, member=name) for name in ("cpu", "gpu")]}


def by_group(count=40):
    return {f"md-{name}": [Point({}, count, nodes=1, member=name)] for name in ("cpu", "gpu")}


def takes(cpu, gpu, good=None):
    def runs(job, random):
        seconds = (cpu if job.point.member == "cpu" else gpu) * (0.95 + 0.1 * random.random())
        return seconds, random.random() < (good or {}).get(job.point.member, 1.0)

    return runs


def shares(world):
    return Counter(job.point.member for job in world.order)


@pytest.mark.parametrize(("groups", "options"), [(by_axis, {"axis": "where"}), (by_group, {})])
@pytest.mark.parametrize(("cpu", "gpu", "best"), [(100, 10, "gpu"), (100, 50, "cpu")])
def test_after_a_few_tries_everything_goes_where_it_is_cheap(groups, options, cpu, gpu, best):
    world = World(CostSelection(), options, groups=groups(), members=members(), runs=takes(cpu, gpu)).run()
    assert len(world.order) == 40
    assert sum(point.success for points in world.points.values() for point in points) == 40
    assert shares(world)[best] == 37


def test_in_a_hurry_what_is_known_first_gets_jobs_while_others_are_tried():
    world = World(
        CostSelection(), {"axis": "where", "hurry": "yes"}, groups=by_axis(), members=members(), runs=takes(100, 50)
    )
    world.run(until=55)
    assert shares(world)["gpu"] > 3
    patient = World(CostSelection(), {"axis": "where"}, groups=by_axis(), members=members(), runs=takes(100, 50))
    patient.run(until=55)
    assert shares(patient) == {"cpu": 3, "gpu": 3}


def test_a_cheap_place_where_jobs_fail_is_not_cheap():
    runs = takes(100, 25, good={"cpu": 0.2})
    options = {"axis": "where", "minimum": 10}
    world = World(CostSelection(), options, groups=by_axis(60), members=members(), runs=runs, seed=3).run()
    assert sum(point.success for point in world.points["md"]) == 60
    assert shares(world)["gpu"] > shares(world)["cpu"]


def test_nodes_count_into_the_cost():
    groups = by_axis()
    groups["md"][0].nodes = groups["md"][0].cores = 8
    world = World(CostSelection(), {"axis": "where"}, groups=groups, members=members(), runs=takes(100, 100)).run()
    assert shares(world)["gpu"] == 37


def test_at_equal_cost_the_sooner_one_is_taken():
    free = members(cpu={"price": 0.0}, gpu={"price": 0.0})
    world = World(CostSelection(), {"axis": "where"}, groups=by_axis(), members=free, runs=takes(30, 10)).run()
    assert shares(world)["gpu"] == 37


@pytest.mark.parametrize("ahead", [0, 4])
def test_never_more_under_way_than_missing_and_ahead(ahead):
    world = World(
        CostSelection(),
        {"axis": "where", "ahead": ahead, "successes": 25},
        groups=by_axis(),
        members=members(),
        runs=takes(10, 10, good={"cpu": 0.5, "gpu": 0.5}),
    )

    def check(world):
        good = sum(point.success for point in world.points["md"])
        assert len(world.queue) + len(world.running) <= max(0, 25 - good) + ahead

    world.checks = check
    world.run()
    assert 25 <= sum(point.success for point in world.points["md"]) <= 25 + ahead


def test_the_other_axes_make_workloads_of_their_own():
    """The long inputs are cheap on gpu, the short ones on cpu: each workload finds its own place."""
    points = [Point({"where": w, "size": s}, 20, nodes=1, member=w) for s in (1, 2) for w in ("cpu", "gpu")]

    def runs(job, random):
        long = job.point.values["size"] == 2
        return {("cpu", True): 100.0, ("gpu", True): 5.0, ("cpu", False): 10.0, ("gpu", False): 9.0}[
            (job.point.member, long)
        ], True

    World(CostSelection(), {"axis": "where"}, groups={"md": points}, members=members(), runs=runs).run()
    assert {tuple(p.values.values()): p.success for p in points} == {
        ("cpu", 1): 17, ("gpu", 1): 3, ("cpu", 2): 3, ("gpu", 2): 17,
    }  # fmt: skip


@pytest.mark.parametrize("state", ["down", "gone", "closed"])
def test_a_member_that_is_away_is_passed_over(state):
    away = members(gpu={"state": state})
    world = World(CostSelection(), {"axis": "where"}, groups=by_axis(), members=away, runs=takes(100, 1)).run()
    assert shares(world) == {"cpu": 40}


def test_when_it_never_works_anywhere_it_gives_up_at_the_ceiling():
    runs = takes(1, 1, good={"cpu": 0.0, "gpu": 0.0})
    options = {"axis": "where", "successes": 5, "maxJobs": 30}
    world = World(CostSelection(), options, groups=by_axis(), members=members(), runs=runs).run()
    assert len(world.order) == 30
    assert min(shares(world).values()) >= 10


def test_the_ceiling_of_jobs_at_once_holds():
    options = {"axis": "where", "atOnce": 2}
    world = World(CostSelection(), options, groups=by_axis(), members=members(), runs=takes(100, 10)).run()
    assert world.most_active == 2
    assert sum(point.success for point in world.points["md"]) == 40


def test_a_group_without_the_axis_just_gets_its_results():
    groups = {**by_axis(10), "prepare": [Point({}, 3)]}
    world = World(CostSelection(), {"axis": "where"}, groups=groups, members=members(), runs=takes(10, 1)).run()
    assert world.points["prepare"][0].success == 3


def test_alternative_groups_with_points_take_turns_over_them():
    groups = {name: [Point({"x": x}, 10, nodes=1, member=name) for x in range(2)] for name in ("cpu", "gpu")}
    World(CostSelection(), {"minimum": 2}, groups=groups, members=members(), runs=takes(100, 1)).run()
    assert [point.submitted for point in groups["gpu"]] == [9, 9]
    assert [point.submitted for point in groups["cpu"]] == [1, 1]


def test_jobs_bound_to_no_member_cost_what_the_dearest_does():
    groups = {"bound": [Point({}, 20, nodes=1, member="cpu")], "free": [Point({}, 20, nodes=1)]}
    world = World(CostSelection(), groups=groups, members=members(), runs=lambda job, random: (10.0, True)).run()
    assert Counter(job.group for job in world.order) == {"bound": 17, "free": 3}


def test_jobs_that_ask_only_for_cores_cost_their_share_of_a_node():
    """Half a node of gpu at 6 is dearer than an eighth of cpu at 1, though four times as fast."""
    wide = members(cpu={"per_node": 8, "nodes": 4}, gpu={"per_node": 2, "nodes": 4})
    world = World(CostSelection(), {"axis": "where"}, groups=by_axis(), members=wide, runs=takes(40, 10))
    for point in world.points["md"]:
        point.nodes = 0
    world.run()
    assert shares(world)["cpu"] == 37
