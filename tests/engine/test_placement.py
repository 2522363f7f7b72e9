"""Whether a job fits: all who ask agree with trying every way to put its tasks on the nodes."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.engine.placement import holds
from ensemble.engine.state import Member
from ensemble.members.local.slots import Slots
from ensemble.model.jobs import Resources
from ensemble.model.placement import Size, fits, never_fits, nodes_for, nodes_held
from ensemble.simulation import simulate
from ensemble.simulation.pool import Pool, need_of
from ensemble.spec.loader import loads

SHAPES = [Resources(*one) for one in product((0, 1, 2), (1, 2, 3), (1, 2, 3), (0, 1, 2), (False, True))]
SIZES = [Size(*one) for one in product((1, 2, 3), (1, 2, 3, 4), (0, 1, 2))]


def tried(need: Resources, free: list[tuple[int, int]]) -> bool:
    """Whether any distribution of the tasks over nodes with so many free cores and GPUs does."""

    def put(tasks: int, nodes: list[tuple[int, int]]) -> bool:
        if not tasks or not nodes:
            return not tasks
        (cores, gpus), rest = nodes[0], nodes[1:]
        room = [n for n in range(tasks + 1) if n * need.cores <= cores and n * need.gpus <= gpus]
        return any(put(tasks - here, rest) for here in room)

    if not need.nodes:
        return put(need.tasks, free)
    each = -(-need.tasks // need.nodes)
    return sum(each * need.cores <= cores and each * need.gpus <= gpus for cores, gpus in free) >= need.nodes


def by_the_engine(need: Resources, size: Size) -> bool:
    member = Member("m", "local")
    member.opened, member.nodes_up, member.cores_per_node = True, size.nodes, size.cores
    member.gpus_up = size.nodes * size.gpus
    return holds(need, member, size.nodes)


@pytest.mark.parametrize(
    "ask",
    [
        fits,
        lambda need, size: not never_fits(need, size),
        by_the_engine,
        lambda need, size: not Slots(*size).never(need, size.nodes),
        lambda need, size: Slots(*size).place(need) is not None,
        lambda need, size: not Pool(*size).never(need_of(need, size.cores, size.gpus), size.nodes),
        lambda need, size: Pool(*size).take(need_of(need, size.cores, size.gpus)) is not None,
    ],
    ids=["fits", "check", "engine", "local-never", "local-now", "simulated-never", "simulated-now"],
)
def test_a_job_fits_idle_nodes_just_when_some_distribution_of_its_tasks_does(ask):
    wrong = [
        (need, size)
        for need, size in product(SHAPES, SIZES)
        if ask(need, size) != tried(need, [(size.cores, size.gpus)] * size.nodes)
    ]
    assert not wrong, f"{len(wrong)} of {len(SHAPES) * len(SIZES)}: {wrong[:3]}"


shapes = st.builds(Resources, st.integers(0, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))


@given(need=shapes, others=st.lists(shapes, max_size=4), size=st.sampled_from(SIZES))
def test_beside_other_jobs_too_on_the_local_member_and_in_simulation(need, others, size):
    slots, pool = Slots(*size), Pool(*size)
    for other in others:
        slots.place(other)
        pool.take(need_of(other, size.cores, size.gpus))
    local = [(node.free, len(node.gpus)) for node in slots.nodes]
    simulated = [(pool._free[number], pool._gpus[number]) for number in pool.up()]
    assert (slots.place(need) is not None) == tried(need, local)
    assert (pool.take(need_of(need, size.cores, size.gpus)) is not None) == tried(need, simulated)


@given(need=st.sampled_from(SHAPES), size=st.sampled_from(SIZES))
@settings(max_examples=60, deadline=None)
def test_a_run_gives_up_just_the_jobs_that_do_not_fit(need, size):
    run = simulate(
        loads(
            f"members: {{m: {{kind: simulated, nodes: {size.nodes}, cores: {size.cores}, gpus: {size.gpus}}}}}\n"
            f"jobs: [{{name: a, command: 'true', nodes: {need.nodes}, tasks: {need.tasks}, cores: {need.cores}, "
            f"gpus: {need.gpus}, exclusive: {str(need.exclusive).lower()}}}]"
        )
    ).runs[0]
    assert (run.outcome == "success") == fits(need, size)


@given(need=st.sampled_from(SHAPES), size=st.sampled_from(SIZES))
def test_a_job_pays_for_the_nodes_it_keeps_from_others(need, size):
    held = nodes_held(need, size.cores, size.gpus)
    if need.nodes or (need.exclusive and fits(need, size)):
        assert held == nodes_for(need, size.cores, size.gpus) or held == need.nodes
    else:
        assert held == need.total_cores / size.cores or not fits(need, size)


def test_nodes_of_an_unknown_size_hold_what_is_asked_for():
    assert fits(Resources(tasks=2, gpus=4), Size(1, 8, -1))
    assert nodes_held(Resources(tasks=2), 0) == 1.0
