"""What each action comes to, on demand and by rule, and what it says where it cannot."""

import pytest

from ensemble.model.errors import ExpressionError
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent, Requested
from ensemble.spec.expressions import parse_path
from tests.engine.world import World, effects, notes


def ask(world, name, **fields):
    return world.tell(Requested("action", "me", action={"name": name, **fields}))


def cancelled(record):
    return [key for effect in effects(record, "cancel") for key, _ in effect.refs]


def sweep():
    world = World("""
jobs:
  - {name: a, command: "x {T}", parameters: {T: [1, 2]}, count: 2, submit: start}
  - {name: b, command: x, count: 4, max_running: 1, submit: start}
""")
    world.job("a-0", "depend")
    world.job("a-1", "sched")
    world.run("a-2")
    return world


@pytest.mark.parametrize(
    ("states", "keys"),
    [
        ((), ["a-0", "a-1", "a-2", "a-3"]),
        (("pending",), ["a-0", "a-1", "a-3"]),
        (("active",), ["a-0", "a-1", "a-2", "a-3"]),
        (("run",), ["a-2"]),
        (("depend",), ["a-0"]),
        (("sched", "submitted"), ["a-1", "a-3"]),
        (("new",), []),
    ],
)
def test_cancel_takes_the_jobs_in_the_states_it_names(states, keys):
    assert cancelled(ask(sweep(), "cancel", label="a", states=list(states))) == keys


def test_cancel_drops_what_waits_here_where_new_jobs_are_meant():
    world = sweep()
    ask(world, "cancel", label="b", states=["new"])
    assert (world.groups()["b"].cancelled, world.groups()["b"].pending) == (3, 1)


def test_cancel_by_a_rule_of_one_value_takes_the_jobs_of_that_value():
    world = World("""
jobs: [{name: a, command: "x {T}", parameters: {T: [1, 2]}, count: 3, max_running: 4, submit: start}]
rules: [{trigger: job-success, for_each: T, action: {name: cancel, label: a}}]
""")
    record = world.good("a-0")
    assert cancelled(record) == ["a-1", "a-2"]
    assert cancelled(world.good("a-3")) == ["a-4"]
    assert world.groups()["a"].cancelled == 1, "the one of T=2 that no member had"


def test_cancel_without_a_label_takes_the_job_of_the_event():
    world = World("jobs: [{name: a, command: x, count: 2}]\nrules: [{trigger: job-run, action: {name: cancel}}]")
    assert cancelled(world.run("a-1")) == ["a-1"]


def test_cancel_of_a_job_between_two_attempts_is_its_end():
    world = World("jobs: [{name: a, command: x, retries: {limit: 2, delay: 10s}}]")
    world.bad("a-0")
    world.tell(Requested("cancel-jobs", "me", keys=("a-0",)))
    assert world.groups()["a"].cancelled == 1
    assert world.engine.ended is not None
    world.replays()


def test_a_drain_drops_jobs_between_two_attempts():
    world = World("jobs: [{name: a, command: x, count: 2, retries: {limit: 2, delay: 10s}}]")
    world.run("a-1")
    world.bad("a-0")
    world.tell(Requested("drain", "me"))
    assert world.groups()["a"].cancelled == 1
    world.good("a-1")
    assert world.engine.ended.outcome == "drained"


def test_a_list_of_hosts_in_brackets_is_not_torn_where_it_is_avoided():
    world = World("jobs: [{name: a, command: x, count: 2}]\nrules: [{trigger: job-fail, action: {name: avoid}}]")
    world.job("a-0", "run", hosts="n[0-2,5],m1")
    world.job("a-0", "inactive", outcome="failed", reason="exit", exit_code=1, hosts="n[0-2,5],m1")
    assert world.engine.state.avoid == ("n[0-2,5]", "m1")


def test_avoid_takes_the_host_of_the_event_or_says_that_there_is_none():
    world = World(
        "jobs: [{name: a, command: x, count: 3}]\nrules: [{trigger: job-fail, action: {name: avoid, repetitions: 3}}]"
    )
    world.job("a-0", "run", hosts="n1,n2")
    world.job("a-0", "inactive", outcome="failed", reason="exit", exit_code=1, hosts="n1,n2")
    assert world.engine.state.avoid == ("n1", "n2")
    world.bad("a-1")
    assert notes(world, "no-host")


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"name": "submit", "label": "z"}, "unknown-group"),
        ({"name": "cancel", "label": "z"}, "unknown-group"),
        ({"name": "grow", "member": "z"}, "unknown-member"),
        ({"name": "shrink", "value": 5}, "resize-bound"),
        ({"name": "switch-algorithm", "label": "z"}, "unknown-algorithm"),
        ({"name": "switch-algorithm", "label": "workload-demand", "options": {"order": "odd"}}, "bad-options"),
        ({"name": "algorithm", "label": "fill"}, "unknown-algorithm"),
        ({"name": "add-rule"}, "bad-rule"),
        ({"name": "submit", "label": "a", "points": [{"T": 9, "Q": 1}]}, "bad-point"),
        ({"name": "dance"}, "unsupported-action"),
    ],
)
def test_an_action_that_cannot_be_done_is_a_note_that_says_why(fields, note):
    world = World("members: {local: {nodes: {min: 1, max: 4}}}\njobs: [{name: a, command: x, count: 2}]")
    world.tell(Requested("action", "me", action=fields))
    assert notes(world, note)
    world.all_good()
    assert world.engine.ended.outcome == "success"


def test_a_member_that_cannot_resize_says_so():
    world = World("members: {m: {nodes: 1}, o: {nodes: 1}}\njobs: [{name: a, command: x}]")
    world.tell(MemberEvent("m", "open", stream="m-2", nodes_up=1, cores_up=4, cores_per_node=4))
    ask(world, "grow", member="m")
    assert notes(world, "unsupported-action") == ["member m cannot grow"]
    ask(world, "grow")
    assert [resize.member for resize in world.resizes] == ["o"]


def test_nothing_is_added_to_an_ensemble_that_is_ending():
    world = World("jobs: [{name: a, command: x, count: 2}]")
    world.run("a-0")
    world.tell(Requested("drain", "me"))
    for name in ("submit", "grow", "add-rule", "switch-algorithm"):
        ask(world, name, label="a")
    assert len(notes(world, "draining")) == 4
    assert world.groups()["a"].submitted == 2


def test_native_events_wake_the_rules_that_name_them():
    world = World("""
jobs: [{name: a, command: x, count: 2}]
rules: [{trigger: job-native-exception, name: a, action: {name: avoid, host: n, repetitions: unlimited}}]
""")
    for n, name, key in (
        (1, "alloc", "a-0"),
        (2, "exception", "a-0"),
        (2, "exception", "a-0"),
        (3, "exception", "a-7"),
    ):
        world.tell(NativeEvent("local", key, name, n=n))
    world.tell(NativeEvent("local", "nobody", "exception"))
    assert len(world.fired()) == 2


def test_a_restart_by_the_queue_waits_and_runs_once_more():
    world = World("""
jobs: [{name: a, command: x}]
rules: [{trigger: metric, when: count.a.running > 0, action: {name: avoid, host: n, repetitions: unlimited}}]
""")
    world.run("a-0")
    world.job("a-0", "sched", incarnation=1)
    assert (world.groups()["a"].running, world.groups()["a"].pending) == (0, 1)
    world.job("a-0", "run", incarnation=1)
    world.job("a-0", "run", incarnation=0)
    assert world.groups()["a"].running == 1
    world.job("a-0", "inactive", 3.0, incarnation=1, outcome="success", exit_code=0)
    assert world.groups()["a"].quantities["duration"].mean == 3.0
    assert len(world.fired()) == 2
    world.replays()


def test_members_are_values_that_rules_read():
    world = World("""
members: {m: {nodes: 1}, o: {nodes: 1}}
jobs: [{name: a, command: x, count: 2}]
rules:
  - {trigger: metric, when: nodes.m.up > 2, action: {name: avoid, host: nodes}}
  - {trigger: metric, when: queue.o.sched >= 5, action: {name: avoid, host: queue}}
  - {trigger: metric, when: count.*.finished == 1, action: {name: avoid, host: all}}
""")
    assert not world.fired()
    world.tell(MemberEvent("o", "nodes", queue={"sched": 6}))
    world.tell(MemberEvent("m", "nodes", nodes_up=3))
    world.good("a-0")
    assert [rule for _, rule in world.fired()] == ["rule-2", "rule-1", "rule-3"]
    world.replays()


@pytest.mark.parametrize("path", ["count.z.success", "nodes.z.up", "mean.*.duration", "derived.a.z"])
def test_a_path_that_names_nothing_is_refused(path):
    world = World("jobs: [{name: a, command: x}]")
    with pytest.raises(ExpressionError):
        world.engine._builder.resolver.value(parse_path(path), {})


def test_an_end_without_a_start_that_no_process_had_is_no_run():
    world = World("jobs: [{name: a, command: x}]")
    world.tell(JobEvent("local", "a-0", "inactive", 5.0, 1, outcome="failed", reason="launch"))
    assert "duration" not in world.groups()["a"].quantities
    assert world.engine.ended.outcome == "failed"


def test_a_job_that_was_started_twice_counts_once():
    world = World("jobs: [{name: a, command: x}]")
    world.job("a-0", "run")
    world.tell(JobEvent("local", "a-0", "inactive", 5.0, outcome="failed", reason="duplicate"))
    assert notes(world, "duplicate")
    world.good("a-0")
    assert world.engine.ended.outcome == "success"
