"""`successive-halving`: the best share of the points goes on, ranks are exact, and ties have a rule."""

import json
from pathlib import Path

import pytest
from tests.engine.world import World

from ensemble.algorithms import BUILTIN, SuccessiveHalving
from ensemble.model.errors import InputError, SpecError
from ensemble.simulation import simulate
from ensemble.spec.loader import load, loads

EXAMPLE = Path(__file__).parents[2] / "examples" / "halving" / "ensemble.yaml"


def jobs(times, options=None, failing=(), count=1):
    """How many jobs each point got, by its place; `times` are the durations that points are ranked by."""
    data = {
        "jobs": [{"name": "a", "command": "x {x}", "parameters": {"x": list(range(len(times)))}, "count": count}],
        "algorithm": {"name": "successive-halving", "options": {"figure": "duration", **(options or {})}},
    }
    world = World(json.dumps(data), cores=50)
    while world.open:
        key = next(iter(world.open))
        place = world.engine.state.jobs[key].point.values["x"]
        world.bad(key, times[place]) if place in failing else world.good(key, times[place])
    world.replays()
    return [point.own_cell.submitted for point in world.engine.state.groups["a"].points]


def test_half_of_the_points_go_on_in_each_round():
    assert jobs([8, 7, 6, 5, 4, 3, 2, 1]) == [1, 1, 1, 1, 2, 2, 3, 4]


def test_the_goal_may_be_to_maximize():
    assert jobs([8, 7, 6, 5, 4, 3, 2, 1], {"goal": "maximize"}) == [4, 3, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("1/3", [1, 1, 1, 1, 1, 1, 2, 2, 3]), (0.1, [1, 1, 1, 1, 1, 1, 1, 1, 2]), ("2/3", [1, 1, 1, 2, 2, 3, 3, 4, 5])],
)
def test_the_share_is_rounded_down_and_at_least_one(keep, expected):
    assert jobs([9, 8, 7, 6, 5, 4, 3, 2, 1], {"keep": keep}) == expected


def test_of_equal_points_the_first_listed_goes_on():
    assert jobs([5, 5, 5, 5]) == [3, 2, 1, 1]


def test_failed_points_rank_last():
    assert jobs([1, 2, 3, 4], failing={0, 1}) == [1, 1, 3, 2]


def test_failed_points_go_on_only_where_too_few_others_do():
    assert jobs([1, 2, 3, 4], failing={0, 1, 2}) == [2, 1, 1, 3]


def test_nothing_follows_when_every_point_failed():
    assert jobs([1, 2, 3, 4], failing={0, 1, 2, 3}) == [1, 1, 1, 1]


def test_rounds_end_it_earlier_and_grow_gives_survivors_more():
    assert jobs([4, 3, 2, 1], {"rounds": 2}) == [1, 1, 2, 2]
    assert jobs([4, 3, 2, 1], {"grow": 3}, count=2) == [2, 2, 8, 26]


def test_one_point_has_one_round():
    assert jobs([1]) == [1]


@pytest.mark.parametrize("keep", ["1", "0", "3/2", "half", "1/0", -0.5])
def test_a_share_that_is_none_is_refused(keep):
    with pytest.raises(InputError, match="option keep is a fraction between 0 and 1, such as 1/2, not"):
        SuccessiveHalving().validate({"figure": "y", "keep": keep})


def test_the_figure_is_needed_and_must_be_one_of_the_group():
    with pytest.raises(InputError, match="option figure is missing"):
        SuccessiveHalving().validate({})
    text = """
jobs: [{name: a, command: "echo {x}", parameters: {x: [1, 2]}, outputs: {loss: '(.*)'}}]
algorithm: {name: successive-halving, options: {figure: los}}
"""
    with pytest.raises(SpecError, match=r"group a has no figure 'los'\. Did you mean loss\?"):
        loads(text, algorithms=BUILTIN)


def test_the_example_is_simulated_to_the_same_ranks():
    spec = load(EXAMPLE, BUILTIN)
    (run,) = simulate(spec, algorithms=BUILTIN).runs
    cells = {point.values["x"]: point.counts["success"] for point in run.points}
    assert cells == {0: 1, 1: 1, 2: 3, 3: 15, 4: 7, 5: 3, 6: 1, 7: 1}
