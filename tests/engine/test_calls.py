"""Calls of functions: one for each event, in order, `concurrency` at a time; what becomes of them as a run ends."""

import pytest

from ensemble.engine import Engine
from ensemble.model.events import FunctionReturned, MemberEvent, Requested
from tests.engine.test_rules import outcome
from tests.engine.world import World, notes

TEXT = """
custom: "def f(**k): pass"
jobs: [{name: a, command: 'x {T}', parameters: {T: [1, 2]}, count: 10, outputs: {p: '(.)'}}]
rules: [{id: tell, trigger: job-finish, name: a, action: {name: custom, label: f, repetitions: unlimited%s}}]
"""


def world(keys="", count=4):
    made = World(TEXT % keys, cores=64)
    for number in range(count):
        made.good(f"a-{number}", figures={"p": float(number)})
    return made


def returns(world, place=-1, *results, **fields):
    return world.tell(FunctionReturned(world.calls[place].id, results, **fields))


def job(world, place=-1):
    return world.calls[place].args["job"]


def test_calls_wait_for_the_one_before_and_come_in_the_order_of_their_events():
    made = world()
    keys = []
    while made.calls and len(keys) < 4:
        keys.append(job(made)["key"])
        assert len(made.calls) == len(keys)
        made.replays()
        returns(made)
    assert keys == ["a-0", "a-1", "a-2", "a-3"]
    assert len(made.fired("tell")) == 4


def test_a_job_is_given_as_it_was_at_its_event():
    made = world()
    for _ in range(3):
        returns(made)
    assert job(made) == {
        "key": "a-3",
        "group": "a",
        "parameters": {"T": 1},
        "figures": {"p": 3.0},
        "outcome": "success",
        "reason": "",
        "duration": 1.0,
        "attempt": 1,
        "directory": "/run/jobs/a-3",
    }


def test_concurrency_says_how_many_are_under_way():
    made = world(", concurrency: 3")
    assert len(made.calls) == 3
    returns(made, 1)
    assert (
        [job(made, place)["key"] for place in range(4)] == ["a-0", "", "a-2", "a-3"] if False else len(made.calls) == 4
    )
    made.replays()


def test_each_of_many_jobs_that_one_event_ends_is_an_occasion():
    made = World(TEXT % ", concurrency: 50", cores=64)
    made.tell(Requested("cancel-jobs", "me", keys=("a-0",)))
    made.tell(MemberEvent("local", "gone"))
    assert sorted(job(made, place)["key"] for place in range(len(made.calls))) == sorted(f"a-{n}" for n in range(20))


def test_what_is_costly_is_given_only_to_those_who_name_it():
    made = world(count=0)
    made.engine.takes = {"f": frozenset({"job", "event"})}
    made.good("a-0")
    assert {"metrics", "points"}.isdisjoint(made.calls[-1].args)
    returns(made)
    made.engine.takes = {"f": None}
    made.good("a-1")
    given = made.calls[-1].args
    assert given["metrics"]["count"]["a"]["success"] == 2
    assert [point["parameters"] for point in given["points"]["a"]] == [{"T": 1}, {"T": 2}]


def test_it_is_given_what_was_so_when_the_call_was_issued():
    made = world(count=0)
    made.engine.takes = {"f": None}
    made.good("a-0")
    made.good("a-1")
    assert made.calls[-1].args["metrics"]["count"]["a"]["success"] == 1


@pytest.mark.parametrize("how", ["stop", "drain"])
def test_calls_are_made_while_a_run_drains_and_what_they_submit_is_refused(how):
    made = world()
    made.tell(Requested("drain", "me") if how == "drain" else Requested("action", "me", action={"name": "stop"}))
    more = {"name": "submit", "label": "a", "value": 1}
    while outcome(made) is None:
        if made.engine.state.lines:
            returns(made, -1, more)
        else:
            made.good(next(iter(made.open)))
    assert len(made.calls) == 20
    assert made.engine.status().notes["draining"] == 20
    assert made.groups()["a"].submitted == 20
    made.replays()


@pytest.mark.parametrize("what", ["cancel", "terminate"])
def test_calls_that_wait_are_given_up_when_a_run_is_cancelled_with_a_note_of_how_many(what):
    made = world()
    made.tell(Requested(what, "me"))
    assert notes(made, "calls-dropped") == [
        "3 calls of functions that waited will not be made: the run is being cancelled"
    ]
    for key in list(made.open):
        made.job(key, "inactive", outcome="cancelled")
    assert len(made.calls) == 1
    returns(made)
    assert outcome(made) is not None
    made.replays()


def test_a_function_that_calls_another_does_so_after_the_calls_before_it():
    made = world(count=2)
    returns(made, -1, {"name": "custom", "label": "g"})
    returns(made)
    assert [call.function for call in made.calls] == ["f", "f", "g"]


def test_an_interval_does_not_make_up_for_the_ticks_that_pass_while_its_function_works():
    made = World("""
custom: "def f(**k): pass"
jobs: [{name: a, command: x}]
rules: [{id: tick, trigger: interval, seconds: 5, action: {name: custom, label: f, repetitions: unlimited}}]
""")
    for _ in range(5):
        made.wait(5.0)
    assert len(made.calls) == 1
    returns(made)
    made.wait(5.0)
    assert len(made.calls) == 2


def test_a_call_of_a_journal_of_version_0_1_is_made_again_with_what_it_was_given():
    made = world(count=1)
    plain = made.engine.snapshot()
    del plain["lines"]
    plain["commands"][-1]["args"] = {"metrics": {}, "now": 3.0}
    old = Engine.restore(made.spec, plain)
    (call,) = [command for command in old.open_commands() if command.id == made.calls[0].id]
    assert call.args == {"metrics": {}, "now": 3.0}
