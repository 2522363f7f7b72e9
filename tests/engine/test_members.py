"""Members that come, go, grow and never fit, and what becomes of the jobs that wait for them."""

import pytest

from ensemble.model.events import FunctionReturned, MemberEvent, Requested, ResizeDone, RunStarted
from tests.engine.world import World, notes


def outcome(world):
    return world.engine.ended.outcome if world.engine.ended else None


def member(world, name="local"):
    return next(one for one in world.engine.status().members if one.name == name)


def opened(name, nodes=1, cores=4, stream="s", **fields):
    fields.setdefault("capabilities", ("resize",))
    return MemberEvent(
        name, "open", stream=stream, nodes_up=nodes, cores_up=nodes * cores, cores_per_node=cores, **fields
    )


TWO = "members: {m: {nodes: 1}, o: {nodes: 1}}\n"


@pytest.mark.parametrize("how", ["closed", "gone"])
def test_a_member_that_is_closed_or_given_up_is_not_opened_again(how):
    world = World(TWO + "jobs: [{name: a, command: x, count: 3, max_running: 1}]")
    world.tell(MemberEvent("m", how))
    for event in (opened("m", stream="later"), MemberEvent("m", "up"), MemberEvent("m", "down")):
        world.tell(event)
        assert member(world, "m").state == how
    world.all_good()
    assert outcome(world) == "success"
    assert world.groups()["a"].success == 3
    assert world.where["a-2"] == "o"
    world.replays()


def test_a_closed_member_that_is_then_given_up_loses_what_it_held():
    world = World(TWO + "jobs: [{name: a, command: x, member: m}]\nrules: []")
    world.tell(MemberEvent("m", "closed"))
    assert outcome(world) is None
    world.tell(MemberEvent("m", "gone"))
    assert outcome(world) == "failed"


def test_grow_before_a_member_has_opened_counts_from_what_the_file_says():
    world = World(
        "members: {local: {nodes: {min: 3, max: 8}}}\njobs: [{name: a, command: x, submit: start}]\n"
        "rules: [{trigger: start, action: {name: grow, value: 2}}]"
    )
    assert [resize.nodes for resize in world.resizes] == [5]


def test_a_failed_resize_falls_back_to_the_size_there_is_unless_another_follows():
    world = World("members: {local: {nodes: {min: 1, max: 9}}}\njobs: [{name: a, command: x, count: 2}]")
    for value in (2, 3):
        world.tell(Requested("grow", "me", action={"name": "grow", "value": value}))
    first, second = world.resizes
    assert (first.nodes, second.nodes) == (3, 6)
    world.tell(ResizeDone(first.id, "local", error="another followed"))
    assert world.engine.state.members["local"].target == 6
    world.tell(ResizeDone(second.id, "local", error="no room"))
    assert world.engine.state.members["local"].target == 1
    world.tell(ResizeDone(second.id, "local", 6))
    assert world.engine.state.members["local"].target == 1, "an answer that nobody awaits"


def test_commands_of_a_member_that_is_gone_are_no_longer_awaited():
    world = World(
        TWO + "jobs: [{name: a, command: x, count: 2}]\n"
        "rules: [{trigger: job-run, action: {name: grow, member: m, repetitions: 2}}]"
    )
    world.run(next(iter(world.open)))
    assert world.engine.open_commands()
    world.tell(MemberEvent("m", "gone"))
    assert not world.engine.open_commands()
    assert world.engine.status().rules[0].open == 0


def test_a_closed_member_is_neither_resized_nor_closed_once_more():
    world = World(TWO + "jobs: [{name: a, command: x}]")
    for name in ("stop-member", "stop-member", "grow"):
        world.tell(Requested(name, "me", action={"name": name, "member": "m"}))
    assert world.engine.status().notes["member-closed"] == 2
    world.tell(Requested("stop-member", "me", action={"name": "stop-member", "member": "nobody"}))
    assert notes(world, "unknown-member")


# ---- jobs that never fit ---------------------------------------------------------------------------


def test_jobs_that_fit_no_member_fail_by_name_and_the_rest_runs():
    world = World(
        TWO + 'jobs: [{name: a, command: "x {n}", tasks: "{n}", parameters: {n: [2, 64]}, count: 2}]',
        start=True,
    )
    assert len(world.open) == 2
    assert world.groups()["a"].failed == 2
    assert notes(world, "never-fits") == [
        "a: a job of 64 cores fits no member (m has at most 1 node of 4 cores, o has at most 1 node of 4 cores)"
    ]
    world.all_good()
    assert outcome(world) == "failed"
    world.replays()


@pytest.mark.parametrize(
    "demand", ["nodes: 3", "gpus: 1", "cores: 5", "tasks: 9", "nodes: 2, tasks: 2, cores: 5", "gpus: 2, tasks: 3"]
)
def test_what_never_fits_is_known_for_nodes_cores_of_a_task_and_gpus(demand):
    world = World(f"jobs: [{{name: a, command: x, {demand}}}]", start=False)
    world.tell(opened("local", nodes=2, gpus_up=0))
    world.tell(RunStarted("r-1", {}, "0"))
    assert world.groups()["a"].failed == 1
    assert outcome(world) == "failed"


def test_nothing_is_given_up_before_every_member_has_told_its_size():
    world = World(TWO + "jobs: [{name: a, command: x, tasks: 9}]", start=False)
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("m", nodes=2))
    assert world.groups()["a"].pending == 1
    world.tell(opened("o", nodes=2))
    assert world.groups()["a"].failed == 1


BIG = "members: {local: {nodes: {min: 1, max: 4}}}\njobs: [{name: a, command: x, tasks: 16%s}]\n"


def test_a_job_goes_to_a_member_that_a_rule_makes_larger_for_what_waits_there():
    rule = "rules: [{trigger: metric, name: mean.a.pending, when: '> 60', action: {name: grow, value: 3}}]"
    for own in ("", ", member: local"):
        world = World(BIG % own + rule)
        assert list(world.open) == ["a-0"]
        world.wait(61, heartbeat=True)
        assert [resize.nodes for resize in world.resizes] == [4]


def test_a_job_that_fits_only_a_member_that_no_rule_makes_larger_fails():
    world = World(BIG % "")
    assert outcome(world) == "failed"
    assert "local has at most 1 node of 4 cores" in notes(world, "never-fits")[0]
    world.replays()


@pytest.mark.parametrize("capabilities", [("resize",), ()])
def test_a_queue_whose_nodes_come_up_by_themselves_is_given_what_it_may_hold_one_day(capabilities):
    world = World(
        "members: {m: {kind: minicluster, nodes: {min: 1, max: 4}}}\njobs: [{name: a, command: x, tasks: 16}]",
        start=False,
    )
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("m", capabilities=capabilities))
    assert list(world.open) == ["a-0"]


def test_a_job_that_does_not_fit_yet_stands_in_no_queue_before_those_that_do():
    for own in ("", ", member: local"):
        world = World(f"""
members: {{local: {{nodes: {{min: 1, max: 4}}}}}}
jobs: [{{name: a, command: x, tasks: 16, submit: start{own}}}, {{name: b, command: x}}]
rules: [{{trigger: job-success, name: b, action: {{name: grow, value: 3}}}}]
""")
        assert list(world.open) == ["b-0"]
        world.good("b-0")
        world.tell(MemberEvent("local", "nodes", nodes_up=4, cores_up=16))
        world.tell(ResizeDone(world.resizes[0].id, "local", 4))
        assert list(world.open) == ["a-0"]


@pytest.mark.parametrize(
    ("demand", "fits"),
    [
        ("tasks: 2, cores: 2", True),
        ("tasks: 3, cores: 2", False),
        ("nodes: 2, tasks: 2, cores: 2", True),
        ("nodes: 2, tasks: 3, cores: 2", False),
    ],
)
def test_a_task_is_not_spread_over_what_is_left_on_two_nodes(demand, fits):
    text = f"""
jobs: [{{name: a, command: x}}, {{name: b, command: "x {{N}}", parameters: {{N: [1]}}, {demand}, submit: rules}}]
rules: [{{trigger: job-success, name: a, action: {{name: submit, label: b, parameters: {{N: [7]}}}}}}]
"""
    world = World(text, start=False)
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("local", nodes=2, cores=3))
    world.good("a-0")
    assert list(world.open) == (["b-0"] if fits else [])
    assert bool(notes(world, "never-fits")) is not fits
    world.all_good()
    assert outcome(world) == ("success" if fits else "failed")


def test_a_job_with_gpus_goes_to_the_member_that_has_them():
    world = World(TWO + "jobs: [{name: a, command: x, gpus: 1, count: 3}]", start=False)
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("m", gpus_up=0))
    world.tell(opened("o", gpus_up=2))
    assert list(world.where.values()) == ["o", "o", "o"]


def test_a_member_that_is_shrunk_is_given_no_job_that_will_not_fit():
    world = World(
        """
jobs: [{name: a, command: x}, {name: b, command: x, nodes: 2, submit: rules}]
rules:
  - {trigger: job-run, name: a, action: {name: shrink}}
  - {trigger: job-run, name: a, action: {name: submit, label: b}}
""",
        start=False,
    )
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("local", nodes=2))
    world.run("a-0")
    assert list(world.open) == ["a-0"], "its nodes are still there, and one of them is going"
    assert world.groups()["b"].failed == 1


def test_what_waits_with_a_member_that_was_shrunk_below_it_is_cancelled_by_name():
    text = """
jobs: [{name: a, command: x, nodes: 2, count: 3}, {name: b, command: x}]
rules: [{trigger: job-success, name: a, action: {name: shrink}}%s]
"""
    world = World(text % "", start=False)
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("local", nodes=2))
    world.good("a-0")
    world.tell(MemberEvent("local", "nodes", nodes_up=1, cores_up=4))
    world.tell(ResizeDone(world.resizes[0].id, "local", 1))
    assert [cancel.refs for cancel in world.cancels] == [(("a-1", 1), ("a-2", 1))]
    assert notes(world, "never-fits") == ["a: 2 waiting jobs do not fit any more (local has at most 1 node of 4 cores)"]
    world.replays()
    other = World(text % ", {trigger: job-success, name: b, action: {name: grow}}", start=False)
    other.tell(RunStarted("r-1", {}, "0"))
    other.tell(opened("local", nodes=2))
    other.good("a-0")
    other.tell(MemberEvent("local", "nodes", nodes_up=1, cores_up=4))
    other.tell(ResizeDone(other.resizes[0].id, "local", 1))
    assert not other.cancels, "a rule may still make it larger"


def test_a_shrink_to_no_node_before_a_member_has_opened_holds():
    world = World("jobs: [{name: a, command: x}]\nrules: [{trigger: start, action: {name: shrink}}]")
    assert [resize.nodes for resize in world.resizes] == [0]
    assert not world.open
    assert outcome(world) is None, "the shrink is not done"
    world.tell(MemberEvent("local", "nodes", nodes_up=0, cores_up=0))
    world.tell(ResizeDone(world.resizes[0].id, "local", 0))
    assert outcome(world) == "failed"
    assert notes(world, "never-fits")


def test_a_job_waits_for_the_rule_that_makes_room_and_fails_when_none_is_left():
    text = """
jobs: [{name: a, command: x, submit: start}, {name: big, command: x, tasks: 8, submit: start}]
rules: [{trigger: job-success, name: a, action: {name: grow}}]
"""
    world = World(text)
    assert world.groups()["big"].pending == 1
    world.good("a-0")
    assert world.groups()["big"].pending == 1, "the grow is under way"
    world.tell(MemberEvent("local", "nodes", nodes_up=2, cores_up=8))
    world.tell(ResizeDone(world.resizes[0].id, "local", 2))
    assert list(world.open) == ["big-0"]
    other = World(text)
    other.bad("a-0")
    assert other.groups()["big"].failed == 1, "nothing is under way that could fire the rule"
    assert outcome(other) == "failed"
    other.replays()


def test_rules_hear_of_jobs_that_never_fit():
    world = World("""
jobs: [{name: a, command: x, tasks: 64, submit: start}, {name: b, command: x, submit: rules}]
rules: [{trigger: metric, name: count.a.failed, when: "> 0", action: {name: submit, label: b}}]
""")
    assert list(world.open) == ["b-0"]
    world.replays()


@pytest.mark.parametrize(("trigger", "what"), [("job-fail", "fail"), ("job-finish", "fail"), ("job-cancel", "cancel")])
def test_the_end_of_a_job_that_never_ran_sets_off_rules_as_any_other_does(trigger, what):
    world = World(f"""
jobs:
  - {{name: a, command: x, {"tasks: 64" if what == "fail" else "max_running: 1, count: 3"}, submit: start}}
  - {{name: b, command: x, submit: rules}}
  - {{name: c, command: x, submit: start}}
rules:
  - {{trigger: {trigger}, name: a, action: {{name: submit, label: b}}}}
  - {{trigger: job-run, name: c, action: {{name: cancel, label: a, states: [new]}}}}
""")
    world.run("c-0")
    assert "b-0" in world.open
    assert world.fired("rule-1")
    world.replays()


def test_a_member_that_a_job_names_and_nobody_has_is_named():
    world = World(TWO + 'jobs: [{name: a, command: "x {s}", member: "{s}", parameters: {s: [m, z]}}]')
    assert set(notes(world, "no-member")) == {"a: there is no member 'z'"}
    world.all_good()
    assert (world.groups()["a"].success, world.groups()["a"].failed) == (1, 1)


def test_waiting_jobs_of_a_member_that_was_given_up_are_lost_and_the_run_has_failed():
    world = World("jobs: [{name: a, command: x, count: 3}]", start=False)
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(MemberEvent("local", "gone"))
    assert world.groups()["a"].lost == 3
    assert outcome(world) == "failed"


def test_waiting_jobs_of_a_member_that_a_rule_stopped_are_cancelled():
    world = World("""
jobs: [{name: a, command: x, count: 3, max_running: 1}]
rules: [{trigger: job-success, name: a, action: {name: stop-member}}]
""")
    world.good("a-0")
    assert (world.groups()["a"].success, world.groups()["a"].cancelled) == (1, 2)
    assert outcome(world) == "success"


def test_a_place_that_is_full_lets_those_behind_it_pass():
    world = World(
        TWO + "jobs:\n  - {name: a, command: x, member: m, count: 2}\n  - {name: a, command: y, member: o, count: 2}\n",
        start=False,
    )
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("o"))
    assert sorted(world.where.values()) == ["o", "o"]
    world.tell(opened("m"))
    assert sorted(world.where.values()) == ["m", "m", "o", "o"]


def test_groups_go_in_the_order_of_the_file_where_they_wait_here():
    world = World("""
limits: {node_hours: 1}
jobs:
  - {name: late, command: x, tasks: 4, walltime: 1h, submit: rules}
  - {name: early, command: x, tasks: 4, walltime: 1h, count: 3, submit: start}
rules: [{trigger: job-run, name: early, action: {name: submit, label: late}}]
""")
    world.run("early-0")
    world.good("early-0", 1.0)
    assert list(world.open) == [], "what is left does not cover an hour"
    world2 = World("""
jobs:
  - {name: late, command: x, max_running: 1, submit: rules}
  - {name: early, command: x, max_running: 1, count: 2, submit: start}
rules: [{trigger: job-success, name: early, action: {name: submit, label: late, value: 1}}]
""")
    record = world2.good("early-0")
    spans = [span.group for effect in record.steps[-1].effects for span in effect.spans]
    assert spans == ["late", "early"]


# ---- money, native events, inventories -------------------------------------------------------------


def test_held_nodes_are_paid_for_while_the_engine_was_away():
    world = World("members: {local: {nodes: {min: 1, max: 4}, price: 36 USD/node-hour}}\njobs: [{name: a, command: x}]")
    world.wait(50)
    world.tell(opened("local", stream="again"), 50)
    assert world.engine.status().cost == pytest.approx(1.0)


def test_a_member_that_is_closed_costs_nothing_more_and_a_late_open_changes_nothing():
    priced = "members: {m: {kind: local, nodes: 1, price: 36 USD/node-hour}, o: {kind: local, nodes: 1}}\n"
    world = World(priced + "jobs: [{name: a, command: x, member: o}]")
    world.wait(50)
    world.tell(MemberEvent("m", "closed"), 50)
    for _ in range(2):
        world.tell(opened("m", stream="later"), 100)
        world.wait(100)
        assert world.engine.status().cost == pytest.approx(1.0)
    world.replays()


def test_a_job_that_ran_cannot_be_unsent():
    world = World("jobs: [{name: a, command: x, retries: 1}]")
    world.run("a-0")
    world.tell(MemberEvent("local", "inventory", unsent=(("a-0", 1),)))
    assert world.open["a-0"][0] == 2, "lost with its infrastructure, and tried again"
    assert world.groups()["a"].failed_attempts == 0
    world.all_good()
    assert outcome(world) == "success"


def test_a_job_that_never_arrived_is_not_sent_again_when_nobody_wants_it():
    world = World("jobs: [{name: a, command: x, count: 2}]")
    world.tell(Requested("cancel-jobs", "me", keys=("a-0",)))
    world.tell(MemberEvent("local", "inventory", unsent=(("a-0", 1),)))
    assert world.groups()["a"].cancelled == 1
    world.tell(Requested("cancel", "me"))
    world.tell(MemberEvent("local", "inventory", unsent=(("a-1", 1),)))
    assert outcome(world) == "cancelled"
    world.replays()


def test_a_job_that_waits_here_can_be_cancelled_alone():
    world = World("jobs: [{name: a, command: x, count: 5, max_running: 1}]")
    world.tell(Requested("cancel-jobs", "me", keys=("a-2", "a-4", "a-9", "b-1", "nothing")))
    assert world.groups()["a"].cancelled == 2
    assert world.engine.status().notes == {"unknown-job": 3}
    world.all_good()
    assert world.groups()["a"].success == 3
    world.replays()


@pytest.mark.parametrize("order", ["listed", "random", "blocked"])
def test_of_the_jobs_that_wait_here_just_those_that_are_named_are_cancelled(order):
    world = World(
        f"jobs: [{{name: a, command: x, parameters: {{T: [1, 2, 3]}}, count: 4, max_running: 1, order: {order}}}]\n"
    )
    first = next(iter(world.open))
    named = [f"a-{number}" for number in (0, 1, 2, 5, 7, 11) if f"a-{number}" != first]
    world.tell(Requested("cancel-jobs", "me", keys=(*named, *named, "a-12", "a-05")))
    assert world.groups()["a"].cancelled == len(named)
    assert world.engine.status().notes == {"unknown-job": 2}
    world.all_good()
    assert world.groups()["a"].success == 12 - len(named)
    assert not set(named) & set(world.where)
    world.replays()


def test_an_answer_of_a_function_may_make_room_for_what_waits():
    world = World("""
custom: "def f(**k): pass"
jobs: [{name: a, command: x, submit: start}, {name: big, command: x, tasks: 8, submit: start}]
rules: [{trigger: job-success, name: a, action: {name: custom, label: f}}]
""")
    world.good("a-0")
    world.tell(FunctionReturned(world.calls[0].id, ()))
    assert world.groups()["big"].failed == 1
    assert outcome(world) == "failed"


def test_a_retry_that_fits_nowhere_any_more_does_not_hold_the_run_open():
    world = World(
        """
members: {m: {nodes: 4}, o: {nodes: 1}}
jobs: [{name: a, command: x, tasks: 9, retries: 1}]
rules: [{trigger: job-success, name: a, action: {name: grow, member: o}}]
""",
        start=False,
    )
    world.n = {"m": 0, "o": 0}
    world.tell(RunStarted("r-1", {}, "0"))
    world.tell(opened("m", nodes=4, stream="m"))
    world.tell(opened("o", nodes=1, stream="o"))
    assert world.where["a-0"] == "m"
    world.tell(Requested("stop-member", "me", action={"name": "stop-member", "member": "m"}))
    world.bad("a-0")
    assert world.groups()["a"].failed == 1
    assert outcome(world) == "failed"
    world.replays()


def test_why_jobs_wait_is_kept_until_the_member_sends_it_anew():
    world = World("members: {m: {nodes: 1}}\njobs: [{name: a, command: x, count: 3}]")
    world.tell(MemberEvent("m", "nodes", waiting={"Resources": 2}))
    world.tell(MemberEvent("m", "nodes"))
    assert member(world, "m").waiting == {"Resources": 2}
    world.tell(MemberEvent("m", "nodes", waiting={}))
    assert member(world, "m").waiting == {}
    world.tell(MemberEvent("m", "nodes", waiting={"Priority": 1}))
    world.tell(opened("m", stream="later"))
    assert member(world, "m").waiting == {}, "a new stream begins without any"
    world.replays()
