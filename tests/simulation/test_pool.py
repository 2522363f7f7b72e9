"""Nodes: what is taken is there, what is given back is free, and a job that could run is never told it cannot."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ensemble.members.local.slots import Slots
from ensemble.model.jobs import Resources
from ensemble.simulation.pool import Need, Placement, Pool, need_of

CORES, GPUS = 6, 2

resources = st.builds(
    lambda nodes, tasks, cores, gpus, exclusive: Resources(nodes, max(tasks, nodes), cores, gpus, exclusive),
    st.integers(0, 4),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(0, 2),
    st.booleans(),
)


class Life(RuleBasedStateMachine):
    """Random jobs, growth, shrinkage and failures, held against plain counting."""

    @initialize(nodes=st.integers(1, 6))
    def begin(self, nodes: int) -> None:
        self.pool = Pool(nodes, CORES, GPUS)
        self.held: list[tuple[Need, Placement]] = []

    @rule(wanted=resources, avoid=st.lists(st.integers(0, 8), max_size=2))
    def take(self, wanted: Resources, avoid: list[int]) -> None:
        need = need_of(wanted, CORES, GPUS, tuple(f"node{number}" for number in avoid))
        free = self.free()
        possible = self.fits(need, free)
        placement = self.pool.take(need)
        assert (placement is not None) == possible
        if placement is None:
            return
        self.held.append((need, placement))
        assert len({number for number, _, _ in placement}) == len(placement)
        for number, cores, gpus in placement:
            assert number not in avoid
            assert free[number][0] >= cores
            assert free[number][1] >= gpus
        if need.nodes:
            assert [(cores, gpus) for _, cores, gpus in placement] == [(need.cores, need.gpus)] * need.nodes
        else:
            assert sum(cores for _, cores, _ in placement) == need.tasks * need.cores
            assert all(cores % need.cores == 0 for _, cores, _ in placement)
        assert not self.pool.never(need, self.pool.staying)

    def fits(self, need: Need, free: dict[int, tuple[int, int]]) -> bool:
        usable = [left for number, left in free.items() if f"node{number}" not in need.avoid]
        if need.nodes:
            return sum(cores >= need.cores and gpus >= need.gpus for cores, gpus in usable) >= need.nodes
        room = (min(cores // need.cores, gpus // need.gpus if need.gpus else need.tasks) for cores, gpus in usable)
        return sum(room) >= need.tasks

    def free(self) -> dict[int, tuple[int, int]]:
        """What is free on nodes that take jobs, counted anew."""
        left = {number: [CORES, GPUS] for number in self.pool.up() if number not in self.pool.leaving}
        for _, placement in self.held:
            for number, cores, gpus in placement:
                if number in left:
                    left[number][0] -= cores
                    left[number][1] -= gpus
        return {number: (cores, gpus) for number, (cores, gpus) in left.items()}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        _, placement = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        before = self.pool.nodes_up
        assert self.pool.give(placement) == (self.pool.nodes_up < before)

    @rule(nodes=st.integers(0, 6))
    def resize(self, nodes: int) -> None:
        up = set(self.pool.up())
        busy = {number for _, placement in self.held for number, _, _ in placement}
        self.pool.keep(nodes)
        self.pool.shrink(nodes)
        assert self.pool.staying <= nodes
        assert not (busy & up) - set(self.pool.up()), "a busy node has gone"
        while self.pool.staying < nodes:
            self.pool.add()
        assert self.pool.staying == nodes

    @rule(number=st.integers(0, 10))
    def fail(self, number: int) -> None:
        if number < len(self.pool.names):
            there = number in self.pool.up()
            assert self.pool.fail(number) == there
            assert number not in self.pool.up()

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        free = self.free()
        assert self.pool.cores_free == sum(cores for cores, _ in free.values())
        assert self.pool.nodes_up == len(self.pool.up())
        assert self.pool.nodes_free == sum(cores == CORES for cores, _ in free.values())
        copy = self.pool.copy()
        assert (copy.cores_free, copy.nodes_up, copy.nodes_free) == (
            self.pool.cores_free,
            self.pool.nodes_up,
            self.pool.nodes_free,
        )
        for _, placement in self.held:
            copy.give(placement)
        assert copy.cores_free == CORES * copy.staying
        assert not copy.leaving, "an idle node stayed although it was to leave"


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase


@given(wanted=resources, nodes=st.integers(1, 5))
def test_never_is_said_just_where_an_empty_machine_has_no_place(wanted: Resources, nodes: int) -> None:
    need = need_of(wanted, CORES, GPUS)
    assert bool(Pool(0, CORES, GPUS).never(need, nodes)) == (Pool(nodes, CORES, GPUS).take(need) is None)


@given(st.lists(resources.filter(lambda need: not need.gpus), max_size=12), st.integers(1, 5))
def test_single_core_jobs_fit_just_when_they_fit_on_the_local_member(wanted: list[Resources], nodes: int) -> None:
    here, there = Pool(nodes, CORES), Slots(nodes, CORES, 0)
    for need in wanted:
        one = Resources(0, need.tasks, 1)
        assert (here.take(need_of(one, CORES, 0)) is None) == (there.place(one) is None)
