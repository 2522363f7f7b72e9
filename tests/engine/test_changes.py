"""A changed file while the run goes on: limits, rules and sizes follow, and all else stays as it was."""

import pytest
from msgspec import to_builtins

from ensemble.model.errors import InputError
from ensemble.model.events import Requested
from ensemble.runtime.requests import answer
from ensemble.spec.changes import file_changes
from ensemble.spec.loader import loads
from tests.engine.world import World, effects, notes, steps

TWENTY = "jobs: [{name: a, command: 'true', count: 20}]\n"
ONE = "members: {local: {nodes: {start: 1, max: 4}}}\n"
MORE = "rules: [{trigger: job-success, action: {name: submit, label: b, repetitions: 2}}]\n"
STARTS = "jobs: [{name: a, command: 'true'}, {name: b, command: 'true', submit: rules}]\n"


def changed(world, text):
    plain = to_builtins(file_changes(world.spec, loads(text, directory="/study")))
    return answer(world.tell(Requested("change", "ada", action=plain)))


def test_a_limit_that_is_raised_lets_more_jobs_in_and_one_that_is_lowered_ends_the_run():
    world = World(STARTS + MORE.replace("2}", "9}") + "limits: {jobs: 3}\n")
    assert changed(world, STARTS + MORE.replace("2}", "9}") + "limits: {jobs: 5}\n").done
    world.all_good()
    assert world.engine.ended.outcome == "limit"
    assert world.engine.status().total.success == 5
    world.replays()


def test_a_limit_that_is_passed_already_is_reached_at_once():
    world = World(TWENTY)
    world.bad("a-0")
    assert changed(world, TWENTY + "limits: {failures: 1}\n").done
    assert world.engine.status().limit == "failures"
    world.replays()


def test_a_shorter_walltime_holds_from_the_start_of_the_run():
    world = World(TWENTY + "limits: {walltime: 1h}\n")
    world.wait(30)
    changed(world, TWENTY + "limits: {walltime: 60s}\n")
    assert world.engine.wakeup() == 100.0 + 60.0
    world.replays()


def test_a_limit_on_cost_cannot_come_where_nothing_was_counted():
    world = World(TWENTY.replace("count", "walltime: 1m, count"))
    refused = changed(world, TWENTY.replace("count", "walltime: 1m, count") + "limits: {cost: 5}\n")
    assert not refused.done
    assert "cannot be added" in refused.text


def test_a_rule_in_both_files_keeps_its_state_and_the_others_come_and_go():
    other = "{trigger: job-fail, action: {name: terminate}}"
    world = World(STARTS + MORE)
    world.good("a-0")
    assert changed(world, STARTS + MORE.replace("rules: [", f"rules: [{other}, ")).done
    world.good("b-0")
    world.good("b-1")
    # both repetitions of the first were used, one of them before the change
    assert world.engine.status().total.submitted == 3
    assert len(steps(world.records, "fired")) == 2


def test_a_rule_that_is_gone_fires_no_more_and_a_new_one_does():
    world = World(TWENTY + "rules: [{trigger: job-fail, action: {name: terminate}}]\n")
    changed(world, TWENTY + "rules: [{trigger: job-fail, action: {name: avoid, host: n1}}]\n")
    world.bad("a-0")
    assert not world.engine.draining
    assert effects(world.records[-1], "avoid")
    world.replays()


def test_a_for_each_rule_that_is_gone_gets_no_instance_for_a_new_point():
    text = (
        "jobs: [{name: a, command: 'true {x}', parameters: {x: [1, 2]}}]\n"
        "rules: [{trigger: job-fail, name: a, for_each: x, action: {name: terminate}}]\n"
    )
    world = World(text)
    changed(world, text.partition("rules")[0])
    world.tell(Requested("action", action={"name": "submit", "label": "a", "points": [{"x": 3}]}))
    world.bad("a-2")
    assert not world.engine.draining
    world.replays()


def test_a_member_is_brought_to_a_new_size_within_its_new_bounds():
    world = World(ONE + TWENTY)
    changed(world, ONE.replace("max: 4", "max: 8").replace("start: 1", "start: 6") + TWENTY)
    assert [resize.nodes for resize in world.resizes] == [6]
    assert world.engine.view.member("local").max_nodes == 8
    world.replays()


def test_the_same_file_changes_nothing():
    world = World(STARTS + MORE + "limits: {jobs: 50}\n")
    same = changed(world, STARTS + MORE + "limits: {jobs: 50}\n")
    assert same.done
    assert not effects(world.records[-1])


def test_a_run_that_is_ending_is_not_changed():
    world = World(TWENTY)
    world.tell(Requested("cancel", "ada"))
    assert not changed(world, TWENTY + "limits: {jobs: 50}\n").done
    assert notes(world, "change")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (TWENTY.replace("20", "21"), "jobs"),
        ("name: other\n" + TWENTY, "name"),
        ("members: {local: {nodes: 1, cores: 2}}\n" + TWENTY, "members.local"),
        ("members: {local: {}, more: {kind: local}}\n" + TWENTY, "members.more"),
        ("custom: 'def f(): return []'\n" + TWENTY, "custom"),
    ],
)
def test_what_a_run_cannot_follow_is_refused_by_name(text, named):
    with pytest.raises(InputError, match=f"not of .*{named}"):
        file_changes(loads("members: {local: {}}\n" + TWENTY), loads(text))
