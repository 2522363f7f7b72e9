"""Rules for each point, and jobs that go on from the directory of the job that caused them."""

from ensemble.engine import Engine
from ensemble.model.events import Requested
from ensemble.spec.loader import loads
from tests.engine.world import World, effects, submissions

CHAIN = """
jobs:
  - {name: a, command: "x {T} {N}", parameters: &grid {T: [1, 2], N: [3, 4]}, submit: start}
  - {name: b, command: "y {parent}/out {T}", parameters: *grid, retries: 1}
  - {name: c, command: "z {parent}/out", parameters: *grid}
rules:
  - {trigger: job-success, name: a, for_each: point, action: {name: submit, label: b}}
  - {trigger: job-success, name: b, for_each: [T, N], action: {name: submit, label: c}}
"""
EACH_SUCCESS = """
jobs:
  - {name: a, command: "x {T}", parameters: {T: [1, 2]}, submit: start}
  - {name: b, command: "y {parent} {T} {k}", parameters: {T: [1, 2], k: [0, 1]}}
rules: [{trigger: job-success, name: a, action: {name: submit, label: b, repetitions: unlimited}}]
"""


def job(engine, key):
    """What a member that has not answered yet is asked to run."""
    (found,) = [
        spec for command in submissions(engine.open_commands()) for spec in command.jobs() if spec.ref.key == key
    ]
    return found


def test_a_chain_follows_each_point_by_itself():
    world = World(CHAIN, cores=8)
    world.answers = False
    (made,) = effects(world.good("a-2"), "create")
    assert (made.span.group, made.span.count, made.parent) == ("b", 1, "jobs/a-2")
    assert job(world.engine, "b-0").command == ("y", "/run/jobs/a-2/out", "2")
    (made,) = effects(world.good("b-0"), "create")
    assert (made.span.group, made.parent) == ("c", "jobs/b-0")
    assert job(world.engine, "c-0").command == ("z", "/run/jobs/b-0/out")
    assert job(world.engine, "c-0").point == {"T": 2, "N": 3}
    world.all_good()
    assert world.groups()["c"].success == 4
    world.replays()


def test_a_retry_and_a_restored_engine_keep_the_parent():
    world = World(CHAIN, cores=8)
    world.answers = False
    world.good("a-1")
    world.bad("b-0")
    restored = world.replays()
    assert world.open["b-0"][0] == 2
    assert job(restored, "b-0").command[1] == "/run/jobs/a-1/out"


def test_jobs_of_several_parents_in_one_submission_keep_their_own():
    world = World(CHAIN, cores=8)
    world.engine.state.members["local"].state = "down"
    for key in ("a-0", "a-1", "a-2"):
        world.good(key)
    world.engine.state.members["local"].state = "up"
    world.answers = False
    world.good("a-3")
    assert [job(world.engine, f"b-{number}").command[1] for number in range(4)] == [
        f"/run/jobs/a-{number}/out" for number in range(4)
    ]


def test_a_parent_is_forgotten_with_the_job():
    world = World(CHAIN, cores=8)
    world.all_good()
    assert all(not group.parents for group in world.engine.state.groups.values())


def test_a_group_that_uses_parent_takes_over_its_parameters_without_for_each():
    world = World(EACH_SUCCESS, cores=8)
    made = effects(world.good("a-1"), "create")
    assert [world.engine.state.groups["b"].points[one.span.point].values for one in made] == [
        {"T": 2, "k": 0},
        {"T": 2, "k": 1},
    ]


def test_a_new_point_goes_down_the_chain():
    world = World(CHAIN, cores=8)
    action = {"name": "submit", "label": "a", "points": [{"T": 9, "N": 9}]}
    world.tell(Requested("submit", "me", action=action))
    (made,) = effects(world.good("a-4"), "create")
    assert (made.values, made.parent) == ({"T": 9, "N": 9}, "jobs/a-4")
    world.all_good()
    world.replays()


def test_nobody_can_submit_a_job_that_needs_a_parent_by_hand():
    world = World(CHAIN, cores=8)
    record = world.tell(Requested("submit", "me", action={"name": "submit", "label": "b"}))
    (note,) = record.steps[0].effects
    assert (note.name, note.text) == ("no-parent", "b uses {parent}, and no job caused this submission")


def test_a_metric_rule_over_two_axes_reads_its_own_point():
    world = World(
        """
jobs: [{name: a, command: "x {T} {N}", parameters: {T: [1, 2], N: [3, 4]}, submit: start}]
rules: [{trigger: metric, for_each: [T, N], when: count.a.success > 0, action: {name: submit, label: a}}]
""",
        cores=8,
    )
    (made,) = effects(world.good("a-3"), "create")
    assert world.fired()[0][1] == "rule-1[T=2,N=4]"
    assert world.engine.state.groups["a"].points[made.span.point].values == {"T": 2, "N": 4}


def test_an_event_finds_the_rules_of_its_point_without_looking_at_the_others():
    rules = "rules: [{trigger: job-success, name: a, for_each: point, action: {name: submit, label: b}}]"
    axes = "{T: {from: 1, to: 2000}}"
    engine = Engine(
        loads(f"""
jobs:
  - {{name: a, command: "x {{T}}", parameters: {axes}}}
  - {{name: b, command: "y {{T}}", parameters: {axes}}}
{rules}
""")
    )
    listeners = engine.state.groups["a"].on["job-success"]
    assert [rule.id for rule in listeners.of({"T": 7})] == ["rule-1[T=7]"]
    assert len(list(listeners)) == 2000
