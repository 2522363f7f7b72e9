"""`workload-demand`: everything is submitted, in order, and the members follow the queue."""

from collections import Counter

import pytest
from small_world import Member, Point, World

from ensemble.algorithms import WorkloadDemand


def sizes(world):
    return [job.point.nodes for job in world.order]


def mixed():
    return {
        "large": [Point({}, 2, nodes=4, cores=4)],
        "small": [Point({}, 3, nodes=1, cores=1)],
        "sweep": [Point({"N": n}, 2, nodes=n, cores=n) for n in (3, 2)],
    }


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("listed", [4, 4, 1, 1, 1, 3, 3, 2, 2]),
        ("ascending", [1, 1, 1, 2, 2, 3, 3, 4, 4]),
        ("descending", [4, 4, 3, 3, 2, 2, 1, 1, 1]),
    ],
)
def test_every_job_is_submitted_once_in_the_order_asked_for(order, expected):
    world = World(WorkloadDemand(), {"order": order}, groups=mixed()).run()
    assert sizes(world) == expected


def test_random_order_submits_every_job_once_and_follows_the_seed():
    runs = [World(WorkloadDemand(), groups=mixed(), seed=seed).run() for seed in (1, 1, 2)]
    for world in runs:
        assert Counter(sizes(world)) == {1: 3, 2: 2, 3: 2, 4: 2}
    assert sizes(runs[0]) == sizes(runs[1]) != sizes(runs[2])


def test_ten_thousand_jobs_in_random_order_come_in_batches_and_each_once():
    groups = {"a": [Point({"x": x}, 50) for x in range(100)], "b": [Point({}, 5000)]}
    world = World(WorkloadDemand(), {"checkSeconds": 1000}, groups=groups, members=[Member(nodes=1000)])
    world._fire(lambda rule: rule.trigger == "start")
    assert len(world.order) == 1000
    assert len(world.actions) <= 1000
    batches = 1
    while world.left["more"]:
        world.queue.clear()  # all of them started
        world._fire(lambda rule: rule.id == "more")
        batches += 1
        assert len(world.order) == 1000 * batches
    assert batches == 10
    assert all(point.submitted == point.count for points in groups.values() for point in points)
    assert {job.group for job in world.order[:100]} == {"a", "b"}


def test_only_the_named_groups_are_submitted():
    world = World(WorkloadDemand(), {"groups": ["small"]}, groups=mixed()).run()
    assert {job.group for job in world.order} == {"small"}


def test_after_a_switch_only_what_is_left_is_submitted():
    groups = mixed()
    groups["small"][0].submitted = groups["small"][0].success = 3
    groups["large"][0].submitted = groups["large"][0].success = 1
    world = World(WorkloadDemand(), {"order": "listed"}, groups=groups).run()
    assert sizes(world) == [4, 3, 3, 2, 2]


def growing(strategy="nextJob", groups=None, member=None, **options):
    groups = groups or {
        "first": [Point({}, 1, nodes=2, cores=2)],
        "wide": [Point({}, 1, nodes=5, cores=5)],
        "thin": [Point({}, 20, nodes=3, cores=3)],
    }
    member = member or Member(nodes=2, resizable=True, max_nodes=20)
    options = {"order": "listed", "scaleUpStrategy": strategy, **options}
    return World(WorkloadDemand(), options, groups=groups, members=[member], runs=lambda job, random: (1000.0, True))


def first_growth(world):
    world.run(until=100)
    grows = [action for action in world.actions if action.name == "grow"]
    return grows[0].value if grows else None


@pytest.mark.parametrize(("strategy", "nodes"), [("nextJob", 5), ("smallestJob", 3), ("largestJob", 5)])
def test_a_member_grows_by_what_the_picked_job_lacks(strategy, nodes):
    assert first_growth(growing(strategy)) == nodes


@pytest.mark.parametrize("strategy", ["nextJob", "smallestJob", "randomJob"])
def test_a_large_job_at_the_head_of_the_queue_does_not_block_it_for_ever(strategy):
    """Small jobs would fit, but the queue is first come, first served: only growth helps, whatever the strategy."""
    options = {"scaleUpStrategy": strategy, "scaleChecks": 2}
    for seed in range(5):
        groups = {"small": [Point({}, 30, nodes=1, cores=1)], "large": [Point({}, 1, nodes=4, cores=4)]}
        member = Member(nodes=1, resizable=True, max_nodes=4)
        World(WorkloadDemand(), options, groups=groups, members=[member], seed=seed).run(until=3000)
        assert groups["large"][0].success == 1


def test_a_random_job_is_picked_by_how_many_wait():
    picked = Counter()
    for seed in range(40):
        world = growing("randomJob", scaleChecks=1)
        world.seed = seed
        picked[first_growth(world)] += 1
    assert picked[3] > picked[5] > 0 or picked[3] == 40 - picked[5]
    assert picked[3] >= 30


def test_growth_counts_free_nodes_and_stops_at_the_largest_size():
    member = Member(nodes=3, resizable=True, max_nodes=4)
    assert first_growth(growing(member=member)) == 1


def test_growth_waits_for_scale_checks_in_a_row():
    world = growing(scaleChecks=4, checkSeconds=10)
    world.run(until=39.9)
    assert not world.actions[3:]
    world = growing(scaleChecks=4, checkSeconds=10)
    world.run(until=40.1)
    assert [action.name for action in world.actions[3:]] == ["grow"]


def test_no_second_growth_is_asked_for_while_one_is_under_way():
    member = Member(nodes=2, resizable=True, max_nodes=20, delay=500.0)
    world = growing(member=member, scaleChecks=1, checkSeconds=1)
    world.run(until=400)
    assert sum(action.name == "grow" for action in world.actions) == 1


@pytest.mark.parametrize("change", [{"resizable": False}, {"state": "down"}, {"max_nodes": 2}])
def test_a_member_that_cannot_grow_is_not_asked_to(change):
    member = Member(**{"nodes": 2, "resizable": True, "max_nodes": 20, **change})
    assert first_growth(growing(member=member)) is None


def test_jobs_that_ask_only_for_cores_grow_by_the_nodes_that_hold_them():
    member = Member(nodes=1, per_node=4, resizable=True, max_nodes=9)
    groups = {"g": [Point({}, 5, nodes=0, cores=10)]}
    assert first_growth(growing(groups=groups, member=member)) == 2  # 10 cores, 4 of them free, 4 a node


def test_a_job_bound_to_another_member_does_not_make_this_one_grow():
    groups = {"g": [Point({}, 5, nodes=5, cores=5, member="other")]}
    members = [Member("here", nodes=1, resizable=True), Member("other", nodes=1)]
    world = World(WorkloadDemand(), {"order": "listed", "scaleChecks": 1}, groups=groups, members=members)
    world._fire(lambda rule: rule.trigger == "start")
    for _ in range(20):
        world.act("check")
    assert all(action.name == "submit" for action in world.actions)


@pytest.mark.parametrize(("until", "nodes"), [(39.9, 8), (40.1, 3)])
def test_a_member_shrinks_to_what_runs_two_checks_later_than_it_would_grow(until, nodes):
    member = Member(nodes=8, resizable=True, min_nodes=1)
    groups = {"g": [Point({}, 3, nodes=1, cores=1)]}
    growing(groups=groups, member=member, scaleChecks=2, checkSeconds=10).run(until=until)
    assert member.nodes == nodes


def test_a_member_never_shrinks_below_its_least_size():
    member = Member(nodes=8, resizable=True, min_nodes=6)
    growing(groups={"g": [Point({}, 3, nodes=1, cores=1)]}, member=member, scaleChecks=1).run(until=300)
    assert member.nodes == 6


def test_growing_and_shrinking_come_to_rest_and_everything_runs():
    member = Member(nodes=1, resizable=True, min_nodes=1, max_nodes=6)
    groups = {"g": [Point({"n": n}, 4, nodes=n, cores=n) for n in (1, 2, 6)]}
    options = {"scaleChecks": 2, "checkSeconds": 1}
    world = World(WorkloadDemand(), options, groups=groups, members=[member], runs=lambda job, random: (30.0, True))
    world.run(until=5000)
    assert all(point.success == 4 for point in groups["g"])
    assert sum(action.name == "grow" for action in world.actions) <= 6


def test_it_stops_after_terminate_checks_with_nothing_left():
    world = World(WorkloadDemand(), {"terminateChecks": 3}, groups=mixed()).run()
    world.idle_checks(2)
    assert world.ended == ""
    world.idle_checks(1)
    assert world.ended == "stop"


def test_a_job_in_between_starts_the_count_of_quiet_checks_again():
    world = World(WorkloadDemand(), {"terminateChecks": 3}, groups=mixed()).run()
    world.idle_checks(2)
    world.queue.append(world.order[0])
    world.idle_checks(1)
    world.queue.clear()
    world.running.clear()
    world.idle_checks(2)
    assert world.ended == ""


def test_without_termination_members_shrink_to_their_least_size_and_nothing_ends():
    member = Member(nodes=5, resizable=True, min_nodes=2, delay=25.0)
    world = World(
        WorkloadDemand(),
        {"terminateChecks": 2, "disableTermination": "yes", "scaleChecks": 100},
        groups={"g": [Point({}, 1)]},
        members=[member],
    ).run()
    world.idle_checks(20)
    assert world.ended == ""
    assert member.nodes == 2
    assert sum(action.name == "shrink" for action in world.actions) == 1


@pytest.mark.parametrize("order", ["listed", "ascending", "descending"])
def test_a_whole_sweep_of_equal_jobs_is_one_action(order):
    groups = {"sweep": [Point({"x": x}, 3) for x in range(50)], "one": [Point({}, 2, nodes=9)]}
    world = World(WorkloadDemand(), {"order": order}, groups=groups)
    world._fire(lambda rule: rule.trigger == "start")
    assert len(world.actions) == 2
    assert all(point.submitted == point.count for points in groups.values() for point in points)


@pytest.mark.parametrize("order", ["listed", "random", "ascending"])
def test_entries_of_one_name_with_different_counts_are_each_submitted_as_often_as_they_say(order):
    groups = {"g": [Point({}, 5), Point({}, 2)], "other": [Point({}, 4)]}
    World(WorkloadDemand(), {"order": order}, groups=groups).run()
    assert [point.submitted for point in groups["g"]] == [5, 2]
