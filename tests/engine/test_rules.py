"""When rules fire, by the design's words."""

import pytest

from ensemble.model.events import FunctionReturned, MemberEvent, Requested, ResizeDone
from tests.engine.world import World, notes, steps

HELLO = """
jobs:
  - {name: echo, command: echo hi, count: 5}
  - {name: sleep, command: sleep 1, count: 5}
rules:
  - {trigger: start, action: {name: submit, label: sleep}}
  - {trigger: metric, name: count.sleep.success, when: 3, action: {name: submit, label: echo}}
"""


def outcome(world):
    return world.engine.ended.outcome if world.engine.ended else None


def test_hello_world_submits_echo_with_the_third_success_and_ends():
    world = World(HELLO)
    assert list(world.open) == [f"sleep-{n}" for n in range(5)]
    world.good("sleep-0")
    world.good("sleep-1")
    assert "echo-0" not in world.open
    world.good("sleep-2")
    assert "echo-4" in world.open
    world.all_good()
    assert outcome(world) == "success"
    assert world.fired("rule-2") == [(world.fired("rule-2")[0][0], "rule-2")]
    world.replays()


def test_a_group_that_no_rule_submits_starts_by_itself():
    world = World("jobs: [{name: a, command: 'true', count: 3}]")
    assert len(world.open) == 3
    world.all_good()
    assert outcome(world) == "success"


def test_a_group_whose_rule_waits_only_for_itself_starts_by_itself():
    world = World(
        "jobs: [{name: a, command: 'true'}]\n"
        "rules: [{trigger: job-success, name: a, action: {name: submit, label: a, value: 1, repetitions: 2}}]"
    )
    world.all_good()
    assert world.groups()["a"].success == 3


def test_repetitions_and_backoff_skip_matches_between_firings():
    world = World("""
jobs:
  - {name: sleep, command: sleep 1, count: 10}
  - {name: echo, command: echo, count: 1}
rules:
  - {trigger: start, action: {name: submit, label: sleep}}
  - {trigger: job-finish, name: sleep, action: {name: submit, label: echo, repetitions: 3, backoff: 2}}
""")
    for n in range(10):
        world.good(f"sleep-{n}")
    firsts = [record.event.key for record in world.records if steps(record, "fired", rule="rule-2")]
    assert firsts == ["sleep-0", "sleep-3", "sleep-6"]
    world.replays()


def test_a_match_in_a_cooldown_is_looked_at_once_more_when_it_ends():
    world = World("""
jobs: [{name: a, command: 'true', count: 4}, {name: b, command: 'true'}]
rules:
  - {trigger: start, action: {name: submit, label: a}}
  - {trigger: job-success, name: a, action: {name: submit, label: b, repetitions: 3, cooldown: 60s}}
""")
    world.good("a-0")
    world.good("a-1")
    world.good("a-2")
    assert len(world.fired("rule-2")) == 1
    assert world.engine.wakeup() is not None
    world.wait(60)
    assert len(world.fired("rule-2")) == 2
    world.all_good()
    world.replays()
    # the fourth success fell into the second cooldown, which keeps the ensemble open until it ends
    assert outcome(world) is None
    world.wait(60)
    assert len(world.fired("rule-2")) == 3
    world.all_good()
    assert outcome(world) == "success"


def test_for_each_value_a_rule_of_its_own_with_its_own_repetitions():
    world = World("""
jobs:
  - {name: melt, command: "lmp -var T {T}", parameters: {T: [1, 2]}, count: 2, submit: start,
     outputs: {p: 'P (\\d+)'}}
rules:
  - {trigger: metric, for_each: T, when: "max.melt.p > 5",
     action: {name: submit, label: melt, value: 1, repetitions: 2}}
""")
    world.good("melt-0", figures={"p": 9.0})
    assert [rule for _, rule in world.fired()] == ["rule-1[T=1]"]
    assert world.groups()["melt"].submitted == 5
    world.good("melt-2", figures={"p": 1.0})
    assert len(world.fired()) == 1
    world.good("melt-4", figures={"p": 9.0})
    assert [rule for _, rule in world.fired()] == ["rule-1[T=1]"] * 2
    world.replays()


def test_a_new_point_gets_its_instance_of_a_for_each_rule():
    world = World("""
jobs:
  - {name: r, command: "x {x}", parameters: {x: [0, 1]}, submit: start}
  - {name: done, command: 'true', submit: rules}
rules:
  - {trigger: idle, action: {name: submit, label: r, parameters: {x: [0.5]}}}
  - {trigger: metric, for_each: x, when: count.r.success == 1, action: {name: submit, label: done}}
""")
    world.all_good()
    assert "rule-2[x=0.5]" in dict(map(reversed, world.fired()))
    assert world.groups()["done"].submitted == 3
    assert outcome(world) == "success"
    world.replays()


def test_unknown_values_never_fire():
    world = World("""
jobs: [{name: a, command: 'true', count: 2, outputs: {x: '(\\d)'}}, {name: b, command: 'true'}]
rules:
  - {trigger: start, action: {name: submit, label: a}}
  - {trigger: metric, when: "mean.a.x < 5 or std.a.duration / 0 > 1", action: {name: submit, label: b}}
""")
    world.good("a-0")
    assert not world.fired("rule-2")
    world.good("a-1", figures={"x": 1.0})
    assert world.fired("rule-2")


def test_a_rule_sees_the_effects_of_those_before_it_in_the_same_event():
    world = World("""
jobs: [{name: a, command: 'true'}, {name: b, command: 'true', count: 3}, {name: c, command: 'true'}]
rules:
  - {trigger: start, action: {name: submit, label: a}}
  - {trigger: job-success, name: a, action: {name: submit, label: b}}
  - {trigger: metric, name: count.b.submitted, when: 3, action: {name: submit, label: c}}
""")
    record = world.good("a-0")
    assert [step.rule for step in record.steps if hasattr(step, "rule")] == ["rule-2", "rule-3"]


def test_a_loop_of_rules_on_one_event_reaches_a_limit():
    world = World("""
jobs: [{name: a, command: 'true', submit: start}]
rules:
  - {trigger: metric, when: count.a.submitted > 0, action: {name: submit, label: a, repetitions: unlimited}}
""")
    assert world.engine.state.limit == "firings"
    assert len(world.fired()) == 1000
    world.all_good()
    assert outcome(world) == "limit"
    world.replays()


def test_grow_is_not_considered_again_while_it_is_open():
    world = World("""
members: {local: {nodes: {min: 1, max: 4}}}
jobs: [{name: a, command: 'true', count: 8}]
rules:
  - {trigger: metric, name: mean.a.pending, when: "> 5", action: {name: grow, value: 1, repetitions: 3}}
""")
    world.wait(10, heartbeat=True)
    assert [resize.nodes for resize in world.resizes] == [2]
    world.wait(10, heartbeat=True)
    assert len(world.resizes) == 1
    world.tell(ResizeDone(world.resizes[0].id, "local", 2))
    world.wait(10, heartbeat=True)
    assert [resize.nodes for resize in world.resizes] == [2, 3]
    world.replays()


def test_a_waiting_job_counts_once_at_its_present_age():
    world = World("jobs: [{name: a, command: 'true', count: 2}]")
    reader = world.engine._builder.resolver
    from ensemble.spec.expressions import parse_path

    mean = reader.value(parse_path("mean.a.pending"), {})[1]
    world.wait(4)
    assert mean() == pytest.approx(4)
    world.wait(4)
    assert mean() == pytest.approx(8)
    world.job("a-0", "run")
    world.wait(2)
    assert mean() == pytest.approx((8 + 10) / 2)


def test_interval_fires_on_time_and_does_not_keep_the_ensemble_alive():
    world = World("""
jobs: [{name: a, command: 'true', submit: start}, {name: b, command: 'true', submit: rules}]
rules: [{trigger: interval, seconds: 10, action: {name: submit, label: b, repetitions: unlimited}}]
""")
    world.wait(10)
    world.wait(35)
    assert len(world.fired()) == 2
    world.all_good(0.1)
    assert outcome(world) == "success"


def test_terminate_cancels_what_runs_and_ends():
    world = World("""
jobs: [{name: a, command: 'true', count: 3}]
rules: [{trigger: job-success, name: a, action: {name: terminate}}]
""")
    world.good("a-0")
    assert {key for cancel in world.cancels for key, _ in cancel.refs} == {"a-1", "a-2"}
    assert outcome(world) is None
    for key in ("a-1", "a-2"):
        world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    assert outcome(world) == "terminated"
    assert world.groups()["a"].cancelled == 2
    world.replays()


def test_stop_lets_running_jobs_finish_and_drops_what_waits():
    world = World("""
jobs: [{name: a, command: 'true', count: 5, max_running: 2}]
rules: [{trigger: job-success, name: a, action: {name: stop}}]
""")
    assert len(world.open) == 2
    world.run("a-1")
    world.good("a-0")
    assert list(world.open) == ["a-1"]
    assert not world.cancels
    world.good("a-1")
    assert outcome(world) == "stopped"
    assert (world.groups()["a"].success, world.groups()["a"].cancelled) == (2, 3)


def test_a_custom_function_is_called_and_what_it_returns_is_done():
    world = World("""
custom: |
  def more(**kwargs):
      return Action({"name": "submit", "label": "b"})
jobs: [{name: a, command: 'true'}, {name: b, command: 'true', submit: rules}]
rules: [{trigger: job-success, name: a, action: {name: custom, label: more}}]
""")
    world.good("a-0") if world.open else None
    assert world.open or world.calls
    call = world.calls[0]
    assert call.function == "more"
    assert call.args["metrics"]["count"]["a"]["success"] == 1
    assert outcome(world) is None
    world.tell(FunctionReturned(call.id, ({"name": "submit", "label": "b"},)))
    assert list(world.open) == ["b-0"]
    world.tell(FunctionReturned(call.id, ({"name": "submit", "label": "b"},)))
    assert list(world.open) == ["b-0"], "a late answer is nobody's"
    world.all_good()
    assert outcome(world) == "success"
    world.replays()


@pytest.mark.parametrize(("on_error", "ends"), [("fail", "failed"), ("ignore", "success")])
def test_a_function_that_fails_is_a_note_and_the_run_fails_unless_told_otherwise(on_error, ends):
    world = World(f"""
custom: "def f(): pass"
jobs: [{{name: a, command: 'true', submit: start}}]
rules: [{{trigger: start, action: {{name: custom, label: f, on_error: {on_error}}}}}]
""")
    world.tell(FunctionReturned(world.calls[0].id, error="ZeroDivisionError", fault="raised"))
    assert world.engine.status().notes == {"function-raised": 1}
    world.all_good()
    assert outcome(world) == ends
    world.replays()


def test_a_rule_can_be_added_and_is_looked_at_at_once():
    world = World("jobs: [{name: a, command: 'true', count: 2}, {name: b, command: 'true', submit: rules}]")
    world.good("a-0")
    rule = {"trigger": "metric", "name": "count.a.success", "when": "> 0", "action": {"name": "submit", "label": "b"}}
    world.tell(Requested("add-rule", "me", action=rule))
    assert "b-0" in world.open
    world.replays()


def test_thresholds_on_one_metric_fire_as_they_are_crossed():
    rules = "\n".join(
        f'  - {{trigger: metric, name: count.a.success, when: "{op} {bound}", action: {{name: submit, label: b}}}}'
        for op, bound in ((">", 2), (">=", 2), (">", 0), ("<", 2), ("<=", 1))
    )
    world = World(
        "jobs: [{name: a, command: x, count: 4, submit: start}, {name: b, command: x, submit: rules}]\n"
        f"rules:\n{rules}"
    )
    world.good("a-0")
    assert [rule for _, rule in world.fired()] == ["rule-3", "rule-4", "rule-5"]
    world.good("a-1")
    assert [rule for _, rule in world.fired()][3:] == ["rule-2"]
    world.good("a-2")
    assert [rule for _, rule in world.fired()][4:] == ["rule-1"]
    world.replays()


def test_a_member_that_is_given_up_loses_its_jobs_and_the_ensemble_ends():
    world = World("jobs: [{name: a, command: 'true', count: 2}]")
    world.good("a-0")
    for _ in range(20):
        if outcome(world):
            break
        world.tell(MemberEvent("local", "gone"))
    assert outcome(world) == "failed"
    assert notes(world, "no-member")
    world.replays()


@pytest.mark.parametrize("what", ["drain", "cancel"])
def test_a_request_ends_the_run_and_says_who(what):
    world = World("jobs: [{name: a, command: 'true', count: 3, max_running: 1}]")
    world.tell(Requested(what, "ada"))
    for key in list(world.open):
        if what == "drain":
            world.good(key)
        else:
            world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    assert outcome(world) == {"drain": "drained", "cancel": "cancelled"}[what]
    assert world.groups()["a"].cancelled == (2 if what == "drain" else 3)
