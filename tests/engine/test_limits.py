"""Limits on cost, node-hours and walltime are ceilings: what may be spent is reserved before a job is released."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ensemble.simulation import simulate
from ensemble.spec.loader import loads
from tests.engine.world import World

HELD = "members: {m: {kind: simulated, nodes: 4, cores: 1, price: 3600 USD/node-hour}}\n"
"""Four nodes at 1 USD a second each."""


def outcome(world):
    return world.engine.ended.outcome if world.engine.ended is not None else ""


def run(text, seed=0):
    # nodes that fail and are repaired keep a run without end going; a day is more than any of these needs
    return simulate(loads(text), seed=seed, until=86_400.0).runs[0]


def test_a_simulation_on_held_nodes_never_spends_more_than_its_limit():
    jobs = "jobs: [{name: a, command: app, nodes: 1, count: 12, walltime: 2s, simulate: {duration: 1}}]\n"
    assert run(HELD + jobs).cost == pytest.approx(12.0)
    bounded = run(HELD + jobs + "limits: {cost: 9}")
    assert (bounded.outcome, bounded.reason) == ("limit", "cost")
    assert bounded.cost <= 9.0
    assert bounded.counts["success"] >= 4, "what the limit covers does run"


@pytest.mark.parametrize(("walltime", "spent"), [("2s", 4.0), ("1.2s", 8.0), ("1s", 8.0)])
def test_a_walltime_close_to_what_jobs_take_uses_more_of_the_limit(walltime, spent):
    jobs = f"jobs: [{{name: a, command: app, nodes: 1, count: 12, walltime: {walltime}, simulate: {{duration: 1}}}}]\n"
    assert run(HELD + jobs + "limits: {cost: 9}").cost == pytest.approx(spent)


def test_jobs_whose_walltime_is_not_known_stop_when_the_money_is_spent():
    jobs = "jobs: [{name: a, command: app, nodes: 1, count: 12, walltime: 1h, simulate: {duration: '1 + attempt'}}]\n"
    spec = loads(HELD + jobs + "limits: {cost: 12, on_limit: cancel}")
    spec = replace(spec, jobs=tuple(replace(group, walltime=type(group.walltime)()) for group in spec.jobs))
    bounded = simulate(spec).runs[0]
    assert (bounded.outcome, bounded.counts["success"]) == ("limit", 4)
    assert bounded.cost == pytest.approx(8.0), "as long as the first ones took is reserved for the next"


def test_the_engine_asks_to_be_woken_when_the_money_is_spent():
    world = World(
        "members: {local: {price: 36 USD/node-hour}}\nlimits: {cost: 1, on_limit: cancel}\n"
        "jobs: [{name: a, command: x, walltime: 100s}]"
    )
    world.run("a-0")
    assert world.engine.wakeup() == pytest.approx(world.at + 100)
    world.wait(100.001)
    assert [effect.reason for effect in world.cancels] == ["limit"]
    world.replays()


def test_node_hours_of_running_jobs_count_before_they_end():
    world = World("limits: {node_hours: 1, on_limit: cancel}\njobs: [{name: a, command: x, tasks: 4, walltime: 1h}]")
    world.run("a-0")
    assert world.engine.wakeup() == pytest.approx(world.at + 3600)
    world.wait(3600.001)
    assert [effect.reason for effect in world.cancels] == ["limit"]


def test_a_member_grows_only_as_far_as_the_limit_covers():
    world = World(
        "members: {local: {nodes: {min: 1, max: 9}, price: 36 USD/node-hour}}\nlimits: {cost: 3}\n"
        "jobs: [{name: a, command: x, walltime: 100s}]\n"
        "rules: [{trigger: job-run, action: {name: grow, value: 5}}]"
    )
    world.run("a-0")
    assert [effect.nodes for effect in world.resizes] == [3], "1 USD each until the job's walltime ends"
    none = World(
        "members: {local: {nodes: {min: 1, max: 9}, price: 36 USD/node-hour}}\nlimits: {cost: 1}\n"
        "jobs: [{name: a, command: x, walltime: 100s}]\n"
        "rules: [{trigger: job-run, action: {name: grow, value: 5}}]"
    )
    none.run("a-0")
    assert not none.resizes
    assert none.engine.state.notes["resize-bound"] == 1


def test_a_job_is_not_started_that_would_outlast_the_run():
    world = World("limits: {walltime: 100s}\njobs: [{name: a, command: x, walltime: 60s, count: 2, max_running: 1}]")
    world.good("a-0", 50)
    assert (outcome(world), world.groups()["a"].success) == ("limit", 1)
    world.replays()


def test_idle_held_members_are_paid_for_too():
    two = (
        "members:\n  m: {kind: simulated, nodes: 1, cores: 1, price: 3600 USD/node-hour}\n"
        "  o: {kind: simulated, nodes: 3, cores: 1, price: 3600 USD/node-hour}\n"
        "jobs: [{name: a, command: app, member: m, count: 3, walltime: 2s, simulate: {duration: 2}}]\n"
    )
    bounded = run(two + "limits: {cost: 9}")
    assert (bounded.outcome, bounded.counts["success"]) == ("limit", 1)
    assert bounded.cost <= 9.0


def test_spending_all_of_it_is_no_limit_when_nothing_is_left_to_do():
    jobs = "jobs: [{name: a, command: app, nodes: 1, count: 4, walltime: 2s, simulate: {duration: 2}}]\n"
    assert run(HELD + jobs + "limits: {cost: 8}").outcome == "success"


def test_a_simulated_batch_queue_is_paid_for_by_its_jobs_as_a_real_one_is():
    jobs = "jobs: [{name: a, command: app, nodes: 1, count: 3, walltime: 20s, simulate: {duration: 10}}]\n"
    queue = run("members: {slurm: {kind: slurm, nodes: 4, cores: 1, price: 3600 USD/node-hour}}\n" + jobs)
    assert queue.cost == pytest.approx(30.0)


groups = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(1, 3),
        st.integers(1, 3),
        st.booleans(),
        st.integers(1, 12),
        st.integers(1, 20),
        st.floats(0.3, 1.2),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=3,
)


@given(
    groups=groups,
    nodes=st.integers(1, 4),
    cores=st.integers(1, 5),
    price=st.sampled_from([60, 3600]),
    limit=st.floats(0.5, 60),
    which=st.sampled_from(["cost", "node_hours"]),
    on_limit=st.sampled_from(["drain", "cancel"]),
    kind=st.sampled_from(["simulated", "slurm"]),
    mtbf=st.sampled_from([0, 200]),
    grow=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_no_file_spends_more_than_its_limit_in_simulation(
    groups, nodes, cores, price, limit, which, on_limit, kind, mtbf, grow, seed
):
    value = limit * price / 60 if which == "cost" else limit / 60
    options = f"{{node_mtbf: {mtbf}s, node_repair: 5s}}" if mtbf else "{}"
    if kind != "simulated":
        options = f"{{simulate: {options}}}"
    lines = [
        f"members: {{m: {{kind: {kind}, nodes: {{min: {nodes}, max: 9}}, cores: {cores}, "
        f"price: {price} USD/node-hour, options: {options}}}}}",
        "jobs:",
    ]
    for number, (wide, tasks, each, exclusive, count, walltime, share, retries) in enumerate(groups):
        lines.append(
            f"  - {{name: g{number}, command: app, nodes: {wide}, tasks: {max(tasks, wide)}, cores: {each}, "
            f"exclusive: {str(exclusive).lower()}, count: {count}, walltime: {walltime}s, retries: {retries}, "
            f"simulate: {{duration: {walltime * share}}}}}"
        )
    lines.append(f"limits: {{{which}: {value}, on_limit: {on_limit}}}")
    if grow:
        lines.append("rules: [{trigger: job-run, action: {name: grow, value: 2, repetitions: 2}}]")
    figures = run("\n".join(lines), seed)
    spent = figures.cost if which == "cost" else figures.node_hours
    assert spent <= value * (1 + 1e-9) + 1e-6, (figures.outcome, figures.counts)
