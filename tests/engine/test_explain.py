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
        "start": "will not fire again: a run starts only once",
        "tick": "waits for its next interval in 7.0 s",
        "quiet": "waits for the run to have nothing left to do (can fire once)",
        "each[T=1]": "waits for a job of a with T=1 to succeed (can fire once)",
        "each[T=2]": "waits for a job of a with T=2 to succeed (can fire once)",
        "any": "waits for a job to fail for good while count.a.success > 1 (can fire up to 3 times)",
        "native": "waits for the queue to report 'exception' of a job of a (can fire once)",
        "member": "waits for any member to report 'down' (can fire once)",
        "both": "waits for count.a.success > 1 (count.a.success = 0) and count.b.failed > 0 (count.b.failed = 0) "
        "(can fire once)",
        "one": "waits for count.a.success > 3 or not mean.b.duration < 5, of which now "
        "count.a.success > 3 (count.a.success = 0) does not hold, "
        "mean.b.duration < 5 (mean.b.duration = unknown) is unknown (can fire once)",
        "held": "waits for a job to start (can fire up to 3 times)",
        "cool": "waits for a job to succeed (can fire up to 3 times)",
    }


def test_what_holds_a_rule_back_is_said():
    world = World(TEXT)
    world.good("a-0")
    world.good("a-1")
    said = waits(world)
    assert said["held"] == "waits for a job to start (can fire 2 more times, skips 1 more match first)"
    assert said["cool"] == "waits for its cooldown to end in 59.0 s"
    assert said["each[T=1]"] == "will not fire again: it has fired once, which is all that `repetitions` allows"
    assert said["both"] == "waits for count.b.failed > 0 (count.b.failed = 0) (can fire once)"
    world.bad("a-2")
    assert waits(world)["any"].endswith("(can fire 2 more times, 1 call under way, 0 waiting)")
    world.tell(FunctionReturned(world.calls[0].id))
    assert waits(world)["any"] == "waits for a job to fail for good while count.a.success > 1 (can fire 2 more times)"


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
    assert said == [
        f"waits for a job to succeed (can fire {times})" for times in ("up to 3 times", "2 more times", "once more")
    ]
    assert waits(world)["three"] == "will not fire again: it has fired 3 times, which is all that `repetitions` allows"
    assert waits(world)["all"] == "waits for a job to succeed"


def test_a_draining_and_an_ended_ensemble_say_so():
    world = World(TEXT)
    world.tell(Requested("drain", "me"))
    assert waits(world)["each[T=2]"] == "will not fire: the run is ending (request-drain)"
    for key in list(world.open):
        world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    over = "the run is over; it was waiting for "
    assert waits(world)["quiet"] == over + "the run to have nothing left to do (can fire once)"


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
    assert "will not fire again: its algorithm was replaced by another" in waits(world).values()
