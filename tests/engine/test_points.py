"""Points: found by their values, shared between entries, and many."""

from msgspec import structs

from ensemble.engine import Engine
from ensemble.model.events import FunctionReturned, JobEvent, Requested, RunStarted
from ensemble.spec.expressions import parse_path
from ensemble.spec.model import EnsembleSpec, GroupSpec
from tests.engine.world import World, effects


def test_a_status_without_points_says_all_the_rest():
    world = World("jobs: [{name: a, command: x, parameters: {T: [1, 2]}, submit: start}]")
    world.all_good()
    whole = world.engine.status()
    assert len(whole.points) == 2
    assert world.engine.status(points=False) == structs.replace(whole, points=())


def test_a_point_is_found_without_looking_at_the_others():
    points = tuple({"T": number} for number in range(5000))
    spec = EnsembleSpec(jobs=(GroupSpec(name="a", command="x {T}", axes=("T",), points=points, submit="rules"),))
    engine = Engine(spec)
    group = engine.state.groups["a"]
    # anybody who goes through them fails
    group.points = None
    for number in range(5000):
        (found,) = engine._builder.find_points(group, {"T": number})
        assert found.index == number
        assert engine._builder.points_within(group, {"T": number}) == [found]


def test_many_new_points_are_one_step_and_each_is_made_once():
    world = World("""
jobs: [{name: a, command: "x {T}", parameters: {T: [0]}, submit: start}]
rules: [{trigger: metric, for_each: T, when: count.a.success > 5, action: {name: stop}}]
""")
    values = [{"T": number} for number in range(60)]
    record = world.tell(Requested("submit", "me", action={"name": "submit", "label": "a", "points": values * 2}))
    made = effects(record, "create")
    assert len(made) == 120
    assert len(world.engine.state.groups["a"].points) == 60
    assert len(world.engine.status().rules) == 60
    world.replays()


def test_entries_with_equal_points_are_submitted_together_as_one_name_says():
    world = World("""
jobs:
  - {name: a, command: "x {T}", parameters: {T: [1, 2]}, submit: rules}
  - {name: a, command: "y {T}", parameters: {T: [2, 3]}, count: 2, submit: rules}
  - {name: b, command: z, submit: start}
rules: [{trigger: start, action: {name: submit, label: a, parameters: {T: [2]}}}]
""")
    commands = sorted(
        world.engine._builder.job_spec(
            world.engine.state.groups["a"], world.engine.state.jobs[key].point, 0, 1, ()
        ).command[0]
        for key in world.open
        if key.startswith("a-")
    )
    assert commands == ["x", "y", "y"]
    world.all_good()
    world.replays()


def test_points_are_found_whatever_the_order_of_their_axes():
    world = World("""
jobs:
  - {name: a, command: "x {T} {N}", parameters: {T: [1], N: [2]}, submit: rules}
  - {name: a, command: "y {N} {T}", parameters: {N: [5], T: [1]}, submit: rules}
  - {name: b, command: z, submit: start}
""")
    group = world.engine.state.groups["a"]
    find = world.engine._builder.find_points
    assert [point.index for point in find(group, {"N": 5, "T": 1})] == [1]
    assert [point.index for point in find(group, {"T": 1, "N": 2})] == [0]
    assert not find(group, {"T": 1})


def test_each_entry_has_its_own_warm_up():
    world = World("jobs: [{name: a, command: x, count: 2, warmup: 1}, {name: a, command: y, count: 2, warmup: 1}]")
    for key, seconds in (("a-0", 100.0), ("a-1", 1.0), ("a-2", 100.0), ("a-3", 3.0)):
        world.good(key, seconds)
    assert world.groups()["a"].quantities["duration"].mean == 2.0


def test_a_slice_counts_points_of_entries_with_more_axes_whichever_comes_first():
    for entries in ((0, 1), (1, 0)):
        lines = [
            '  - {name: a, command: "x {T}", parameters: {T: [1]}, submit: start}',
            '  - {name: a, command: "x {T} {N}", parameters: {T: [1, 2], N: [1, 2]}, submit: start}',
        ]
        world = World("jobs:\n" + "\n".join(lines[place] for place in entries))
        world.all_good()
        read = world.engine._builder.resolver.value(parse_path("count.a[T=1].success"), {})[1]
        assert read() == 3


def test_reading_changes_no_state():
    world = World("""
jobs:
  - {name: s, command: "x {N} {M}", parameters: {N: [1, 4], M: [1, 2]}, outputs: {p: '(.)'},
     derived: {speedup: "mean.s[N=1].duration / mean.s.duration", never: "mean.s[N=1].p"}}
""")
    world.good("s-0")
    before = world.engine.snapshot()
    world.engine.status()
    world.engine.explain()
    for path in ("mean.s[N=4].p", "count.s[M=1].success", "p95.s.p", "sum.s[M=2].duration"):
        world.engine._builder.resolver.value(parse_path(path), {})[1]()
    assert world.engine.snapshot() == before


def test_instances_of_values_that_come_later_keep_their_place_over_a_snapshot():
    world = World("""
jobs:
  - {name: a, command: "x {T}", parameters: {T: [1]}, submit: start}
  - {name: b, command: "x {T}", parameters: {T: [5]}, submit: start}
rules: [{trigger: job-success, for_each: T, action: {name: submit, label: b, repetitions: 2}}]
""")
    for group, value in (("b", 7), ("a", 2), ("b", 3)):
        action = {"name": "submit", "label": group, "points": [{"T": value}]}
        world.tell(Requested("submit", "me", action=action))
    restored = world.replays()
    assert [rule.order for rule in restored.state.rules.values()] == [
        rule.order for rule in world.engine.state.rules.values()
    ]
    assert len({rule.order for rule in restored.state.rules.values()}) == 5


def test_two_rules_from_one_function_have_two_names():
    world = World("""
custom: "def f(**k): pass"
jobs: [{name: a, command: x, submit: start}]
rules: [{trigger: start, action: {name: custom, label: f}}]
""")
    rule = {"trigger": "job-success", "name": "a", "action": {"name": "avoid", "host": "n"}}
    named = {**rule, "id": "rule-1"}
    record = world.tell(FunctionReturned(world.calls[0].id, (rule, rule, named, named)))
    made = [effect.id for effect in effects(record, "add-rule")]
    assert made == ["rule-1+1", "rule-1+2", "rule-1+3", "rule-1+4"]
    world.all_good()
    assert len(world.fired()) == 5
    world.replays()


def test_a_trigger_with_a_condition_is_not_woken_by_its_values():
    world = World("""
jobs: [{name: a, command: x, count: 4, submit: start}, {name: b, command: x, submit: rules}]
rules: [{trigger: job-run, name: a, when: count.a.success >= 0,
         action: {name: submit, label: b, repetitions: unlimited, cooldown: 5s}}]
""")
    world.run("a-0")
    world.wait(6)
    assert len(world.fired()) == 1
    world.good("a-0")
    assert len(world.fired()) == 1, "a success is no start"
    world.run("a-1")
    assert len(world.fired()) == 2


# ---- what enters a record --------------------------------------------------------------------------


def test_no_figure_or_time_that_is_no_number_enters_a_record():
    world = World("jobs: [{name: a, command: x, outputs: {p: '(.)', q: '(.)'}}]")
    world.run("a-0")
    record = world.engine.handle(
        JobEvent(
            "local",
            "a-0",
            "inactive",
            float("nan"),
            outcome="success",
            exit_code=0,
            start=float("inf"),
            figures={"p": float("inf"), "q": 2.0},
        ),
        world.at + 1,
    )
    world.engine.check()
    assert (record.event.time, record.event.start) == (world.at + 1, 0.0)
    assert (record.event.figures, record.event.missing) == ({"q": 2.0}, ("p",))
    assert world.engine.status().notes == {"output-missing": 1}
    assert "inf" not in str(world.engine.snapshot())
    assert "nan" not in str(world.engine.snapshot())


def test_the_end_knows_best_when_an_attempt_began():
    world = World("jobs: [{name: a, command: x}]")
    # after a resume the start is told when it was found out, not when it was
    world.job("a-0", "run", time=160.0)
    world.job("a-0", "inactive", time=170.0, start=110.0, outcome="success", exit_code=0)
    assert world.groups()["a"].quantities["duration"].mean == 60.0


def test_an_event_of_a_restart_of_an_attempt_never_sent_is_a_remark():
    world = World("jobs: [{name: a, command: x, retries: {limit: 1, delay: 5s}}]")
    world.bad("a-0")
    world.tell(JobEvent("local", "a-0", "run", 1.0, 0, 2, 3))
    assert world.engine.status().notes == {"illegal-transition": 1}
    world.tell(JobEvent("local", "a-0", "new", 1.0, 0, 2))
    assert world.engine.status().notes == {"illegal-transition": 1}


def test_a_run_is_apart_from_the_time_it_starts_at():
    world = World("jobs: [{name: a, command: x}]", start=False)
    world.tell(RunStarted("r-1", {}, "0"))
    assert world.engine.waiting is False
    assert world.engine.view.position("local") == ("", 0)
