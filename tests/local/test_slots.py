"""Virtual nodes: a job that can run is placed, one that never can is refused with the reason, and nobody shares."""

from hypothesis import given
from hypothesis import strategies as st

from ensemble.members.local.slots import Slots
from ensemble.model.jobs import Resources
from ensemble.simulation.pool import Pool, need_of

needs = st.builds(
    lambda nodes, tasks, cores, gpus, exclusive: Resources(nodes, max(tasks, nodes), cores, gpus, exclusive),
    st.integers(0, 4),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
)


@given(need=needs, nodes=st.integers(1, 4), cores=st.integers(1, 6), gpus=st.integers(0, 4))
def test_on_an_idle_machine_a_job_is_placed_or_is_told_why_it_never_will_be(need, nodes, cores, gpus):
    slots = Slots(nodes, cores, gpus)
    never = slots.never(need, nodes)
    assert (slots.place(need) is None) == bool(never), never
    pool = Pool(nodes, cores, gpus)
    assert bool(pool.never(need_of(need, cores, gpus), nodes)) == bool(never), "simulated, it is the same"


def test_a_whole_node_holds_no_more_tasks_than_it_has_cores():
    slots = Slots(2, 4, 0)
    found = slots.place(Resources(tasks=8, exclusive=True))
    assert found is not None
    assert [(node.name, cores) for node, cores, _ in found] == [("node0", 4), ("node1", 4)]
