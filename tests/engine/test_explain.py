"""Explanations are sentences: when a rule will fire, or why it does not."""

from ensemble.model.events import FunctionReturned, Requested
from tests.engine.world import World

TEXT = """
custom: "def f(**k): pass"
jobs:
  - {name: a, command: "x {T}", parameters: {T: [1, 2]}, count: 2, submit: start}
  - {name: b, command: x, submit: rules}
rules:
  - {id: start, trigger: start, action: {name: submit, label: b, value: 1, repetitions: 2}}
  - {id: tick, trigger: interval, seconds: 7, action: {name: avoid, host: n, repetitions: unlimited}}
  - {id: quiet, trigger: idle, action: {name: stop}}
  - {id: each, trigger: job-success, name: a, for_each: T, action: {name: submit, label: b}}
  - {id: any, trigger: job-fail, when: count.a.success > 1, action: {name: custom, label: f, repetitions: 3}}
  - {id: native, trigger: job-native-exception, name: a, action: {name: cancel}}
  - {id: member, trigger: member-down, action: {name: stop}}
  - {id: both, trigger: metric, when: count.a.success > 1 and count.b.failed > 0, action: {name: stop}}
  - {id: one, trigger: metric, when: count.a.success > 3 or not mean.b.duration < 5, action: {name: stop}}
  - {id: held, trigger: job-run, action: {name: avoid, host: z, repetitions: 3, backoff: 2}}
  - {id: cool, trigger: job-success, action: {name: submit, label: b, value: 1, repetitions: 3, cooldown: 60s}}
"""


def waits(world):
    return {one.id: one.waits_for for one in world.engine.explain()}


def test_each_kind_of_rule_says_what_it_waits_for():
    world = World(TEXT)
    assert waits(world) == {
        "start": "nothing any more: there is one start",
        "tick": "its next tick in 7.0 s",
        "quiet": "nothing else to be left to do (once)",
        "each[T=1]": "a job of a with T=1 to succeed (once)",
        "each[T=2]": "a job of a with T=2 to succeed (once)",
        "any": "a job to fail for good while count.a.success > 1 (up to 3 times)",
        "native": "the queue to tell 'exception' of a job of a (once)",
        "member": "member (any) to tell 'down' (once)",
        "both": "count.a.success > 1 (count.a.success = 0) and count.b.failed > 0 (count.b.failed = 0) (once)",
        "one": "count.a.success > 3 or not mean.b.duration < 5, of which now count.a.success > 3 (count.a.success = 0) "
        "does not hold, mean.b.duration < 5 (mean.b.duration = unknown) is unknown (once)",
        "held": "a job to start (up to 3 times)",
        "cool": "a job to succeed (up to 3 times)",
    }


def test_what_holds_a_rule_back_is_said():
    world = World(TEXT)
    world.good("a-0")
    world.good("a-1")
    said = waits(world)
    assert said["held"] == "a job to start (2 more times, after 1 more match to skip)"
    assert said["cool"] == "its cooldown to end in 59.0 s"
    assert said["each[T=1]"] == "nothing: it fired once, as often as it may"
    assert said["both"] == "count.b.failed > 0 (count.b.failed = 0) (once)"
    world.bad("a-2")
    assert waits(world)["any"].endswith("(2 more times, 1 call under way, 0 waiting)")
    world.tell(FunctionReturned(world.calls[0].id))
    assert waits(world)["any"] == "a job to fail for good while count.a.success > 1 (2 more times)"


def test_a_rule_that_fired_several_times_says_how_often_it_still_may():
    world = World(
        "jobs: [{name: a, command: x, count: 4}]\nrules:\n"
        "- {id: three, trigger: job-success, action: {name: avoid, host: n, repetitions: 3}}\n"
        "- {id: all, trigger: job-success, action: {name: avoid, host: n, repetitions: unlimited}}"
    )
    said = []
    for number in range(3):
        said.append(waits(world)["three"])
        world.good(f"a-{number}")
    assert said == [f"a job to succeed ({times})" for times in ("up to 3 times", "2 more times", "once more")]
    assert waits(world)["three"] == "nothing: it fired 3 times, as often as it may"
    assert waits(world)["all"] == "a job to succeed"


def test_a_draining_and_an_ended_ensemble_say_so():
    world = World(TEXT)
    world.tell(Requested("drain", "me"))
    assert waits(world)["each[T=2]"] == "nothing any more: the ensemble is ending (request-drain)"
    for key in list(world.open):
        world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    over = "nothing any more, the ensemble is over; it was waiting for "
    assert waits(world)["quiet"] == over + "nothing else to be left to do (once)"


def test_parts_tell_the_values_and_actions_their_object():
    world = World(TEXT)
    world.good("a-0")
    both = world.engine.explain("both")[0]
    assert [(part.text, part.holds) for part in both.parts] == [
        ("count.a.success > 1 (count.a.success = 1)", False),
        ("count.b.failed > 0 (count.b.failed = 0)", False),
    ]
    assert (both.condition, both.action) == ("count.a.success > 1 and count.b.failed > 0", "stop")
    assert [one.id for one in world.engine.explain("each")] == ["each[T=1]", "each[T=2]"]
    assert world.engine.explain("cool")[0].action == "submit 1 b"
    assert world.engine.explain("nobody") == []


def test_rules_of_an_algorithm_that_was_left_say_so():
    world = World("algorithm: workload-demand\njobs: [{name: a, command: x, count: 2}]")
    world.tell(Requested("switch", "me", action={"name": "switch-algorithm", "label": "random-selection"}))
    assert "nothing: its algorithm was switched off" in waits(world).values()
