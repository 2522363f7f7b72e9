"""`random-selection`: chance decides, the count and the ceiling hold."""

from collections import Counter

import pytest
from small_world import Member, Point, World

from ensemble.algorithms import RandomSelection


def groups():
    return {"few": [Point({}, 2)], "many": [Point({"x": x}, 10) for x in range(6)]}


def drawn(world):
    return Counter((job.group, *job.point.values.values()) for job in world.order)


@pytest.mark.parametrize("draw", ["job", "point", "group"])
def test_without_a_count_everything_runs_once(draw):
    world = World(RandomSelection(), {"draw": draw}, groups=groups()).run()
    assert drawn(world) == {("few",): 2, **{("many", x): 10 for x in range(6)}}


@pytest.mark.parametrize("draw", ["job", "point", "group"])
@pytest.mark.parametrize("at_once", [0, 3])
def test_the_count_and_the_ceiling_hold(draw, at_once):
    options = {"draw": draw, "count": 17, "atOnce": at_once}
    world = World(RandomSelection(), options, groups=groups(), members=[Member(nodes=50)]).run()
    assert len(world.order) == 17
    assert world.most_active == (at_once or 17)
    assert all(point.submitted <= point.count for points in world.points.values() for point in points)


@pytest.mark.parametrize("draw", ["job", "point", "group"])
def test_the_choice_follows_the_seed(draw):
    options = {"draw": draw, "count": 30}
    orders = [
        [
            (job.group, *job.point.values.values())
            for job in World(RandomSelection(), options, groups=groups(), seed=s).run().order
        ]
        for s in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_with_replacement_a_point_may_exceed_its_count():
    options = {"replace": True, "count": 60, "draw": "group"}
    world = World(RandomSelection(), options, groups=groups()).run()
    assert len(world.order) == 60
    assert world.points["few"][0].submitted > 2


@pytest.mark.parametrize(("draw", "share"), [("job", 2 / 62), ("point", 1 / 7), ("group", 1 / 2)])
@pytest.mark.parametrize("replace", [True, False])
def test_what_is_drawn_has_equal_chances(draw, share, replace):
    """How often the small group comes first, over 400 runs; within 4.5 standard deviations."""
    first = 0
    for seed in range(400):
        options = {"draw": draw, "replace": replace, "count": 1}
        first += World(RandomSelection(), options, groups=groups(), seed=seed).run().order[0].group == "few"
    assert abs(first - 400 * share) <= 4.5 * (400 * share * (1 - share)) ** 0.5


def test_unlimited_goes_on_for_as_long_as_it_is_let():
    options = {"replace": "yes", "count": "unlimited", "atOnce": 4}
    world = World(RandomSelection(), options, groups=groups(), members=[Member(nodes=50)])
    world.run(until=100)
    assert world.most_active == 4
    assert len(world.order) >= 400


def test_thousands_come_in_batches_and_no_batch_is_drawn_for_nothing():
    many = {"g": [Point({"x": x}, 30) for x in range(100)]}
    world = World(RandomSelection(), {"count": 2500}, groups=many, members=[Member(nodes=600)]).run()
    assert len(world.order) == 2500
    assert world.firings == {"draw": 1, "more": 2}


def test_entries_of_one_name_count_all_their_jobs():
    world = World(RandomSelection(), {"count": 6}, groups={"g": [Point({}, 9), Point({}, 9)]}).run()
    assert [point.submitted for point in world.points["g"]] == [3, 3]


def test_nothing_to_draw_from_is_nothing_drawn():
    for draw in ("job", "point", "group"):
        done = {"g": [Point({}, 2, submitted=2, success=2)]}
        assert World(RandomSelection(), {"draw": draw}, groups=done).run().order == []
