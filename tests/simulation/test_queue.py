"""The queue in virtual time: order, places, ends; each held against something that is simpler and slower."""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.model.errors import InputError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import Resources
from ensemble.simulation import backfill
from ensemble.simulation.draws import distribution, group_seed
from ensemble.simulation.jobs import JobShape
from ensemble.simulation.model import JobModel
from ensemble.simulation.options import SimulatedOptions, read_options
from ensemble.simulation.pool import need_of
from ensemble.simulation.queue import SimulatedQueue

T0 = 1.0


class World:
    """A queue, and everything it told."""

    def __init__(self, nodes: int = 1, cores: int = 4, gpus: int = 0, **options: Any) -> None:
        self.events: list[JobEvent | MemberEvent] = []
        known = {"seed", "max_nodes", "watched", "numbered"}
        queue = {name: options.pop(name) for name in list(options) if name in known}
        self.queue = SimulatedQueue(
            "m", nodes, cores, gpus, read_options(options, "m"), self.events.append, now=T0, **queue
        )

    def submit(
        self, number: int, seconds: Any, cores: int = 1, nodes: int = 0, walltime: float = 0.0, **model: Any
    ) -> None:
        need = need_of(Resources(nodes, 1, cores), self.queue.pool.cores, self.queue.pool.gpus)
        duration = float(seconds) if isinstance(seconds, int | float) else seconds
        shape = JobShape(need, walltime, JobModel(duration, **model), group_seed(3, "a"))
        self.queue.submit(shape, "a", number)

    def run(self, until: float = inf) -> World:
        while self.queue.next_time() <= min(until, 1e12):
            self.queue.advance(self.queue.next_time())
        if until < inf:
            self.queue.advance(until)
        return self

    def times(self, state: str) -> dict[str, float]:
        """When each job reached a state, from the beginning."""
        return {
            event.key: event.time - T0 for event in self.events if isinstance(event, JobEvent) and event.state == state
        }

    def ends(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for event in self.events:
            if isinstance(event, JobEvent) and event.state == "inactive":
                assert event.key not in found, "it ended twice"
                found[event.key] = (event.outcome, event.reason)
        return found


# ---- first in, first out ---------------------------------------------------------------------------

durations = st.lists(st.integers(0, 50), max_size=40)


@given(durations, st.integers(1, 6))
def test_single_core_jobs_start_as_list_scheduling_says(seconds: list[int], cores: int) -> None:
    world = World(1, cores)
    for number, one in enumerate(seconds):
        world.submit(number, one)
    world.run()
    free = [0.0] * cores
    expected = {}
    for number, one in enumerate(seconds):
        start = heapq.heappop(free)
        expected[f"a-{number}"] = start
        heapq.heappush(free, start + one)
    assert world.times("run") == expected
    assert world.times("inactive") == {f"a-{n}": expected[f"a-{n}"] + one for n, one in enumerate(seconds)}


sized = st.lists(
    st.tuples(st.integers(1, 50), st.integers(1, 4), st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=30
)


@given(sized, st.integers(1, 3), st.sampled_from(["fifo", "backfill"]))
def test_no_core_is_held_twice_and_every_job_ends_once(
    jobs: list[tuple[int, int, int, int]], nodes: int, scheduler: str
) -> None:
    world = World(nodes, 4, scheduler=scheduler)
    for number, (seconds, cores, wanted, slack) in enumerate(jobs):
        world.submit(number, seconds, cores, min(wanted, nodes), float(seconds + slack) if slack else 0.0)
    world.run()
    assert world.ends() == {f"a-{number}": ("success", "") for number in range(len(jobs))}
    assert world.queue.pool.cores_free == nodes * 4
    held: Counter[str] = Counter()
    hosts = {}
    for event in world.events:
        assert isinstance(event, JobEvent)
        number = int(event.key.partition("-")[2])
        if event.state == "run":
            hosts[event.key] = event.hosts.split(",")
            for host in hosts[event.key]:
                held[host] += jobs[number][1]
                assert held[host] <= 4
        else:
            for host in hosts[event.key]:
                held[host] -= jobs[number][1]


@given(sized, st.integers(1, 3))
def test_first_in_first_out_never_lets_one_pass(jobs: list[tuple[int, int, int, int]], nodes: int) -> None:
    world = World(nodes, 4)
    for number, (seconds, cores, wanted, _) in enumerate(jobs):
        world.submit(number, seconds, cores, min(wanted, nodes))
    starts = world.run().times("run")
    in_order = [starts[f"a-{number}"] for number in range(len(jobs))]
    assert in_order == sorted(in_order)


# ---- backfill --------------------------------------------------------------------------------------


def test_backfill_lets_short_jobs_pass_and_long_ones_wait() -> None:
    world = World(1, 4, scheduler="backfill")
    world.submit(0, 10, cores=3, walltime=10.0)
    world.submit(1, 10, cores=4, walltime=10.0)  # the head: can start at 10
    world.submit(2, 20, cores=1, walltime=20.0)  # would delay it
    world.submit(3, 5, cores=1, walltime=5.0)  # is over by then
    assert world.run().times("run") == {"a-0": 0, "a-3": 0, "a-1": 10, "a-2": 20}


def test_backfill_lets_a_long_job_pass_where_the_head_fits_beside_it() -> None:
    world = World(1, 4, scheduler="backfill")
    world.submit(0, 10, cores=3, walltime=10.0)
    world.submit(1, 10, cores=3, walltime=10.0)
    world.submit(2, 99, cores=1, walltime=99.0)
    assert world.run().times("run") == {"a-0": 0, "a-2": 0, "a-1": 10}


def test_backfill_looks_no_deeper_than_it_is_told() -> None:
    world = World(1, 4, scheduler="backfill", depth=1)
    world.submit(0, 10, cores=3)
    world.submit(1, 10, cores=4)
    world.submit(2, 10, cores=4)
    world.submit(3, 5, cores=1)
    assert world.run().times("run") == {"a-0": 0, "a-1": 10, "a-2": 20, "a-3": 30}


@settings(max_examples=200)
@given(sized, st.integers(1, 3))
def test_backfill_never_delays_the_head_beyond_its_reservation(
    jobs: list[tuple[int, int, int, int]], nodes: int
) -> None:
    promised: dict[str, float] = {}
    reserve = backfill._reserve

    def noted(queue: SimulatedQueue, head: Any) -> Any:
        shadow, ahead = reserve(queue, head)
        promised[head.key] = min(shadow, promised.get(head.key, inf))
        return shadow, ahead

    backfill._reserve = noted  # type: ignore[assignment]
    try:
        world = World(nodes, 4, scheduler="backfill")
        for number, (seconds, cores, wanted, slack) in enumerate(jobs):
            world.submit(number, seconds, cores, min(wanted, nodes), float(seconds + slack))
        starts = world.run().times("run")
    finally:
        backfill._reserve = reserve
    for key, shadow in promised.items():
        assert starts[key] <= shadow - T0


@given(sized, st.integers(1, 3))
def test_backfill_wastes_no_place_that_the_head_could_have(jobs: list[tuple[int, int, int, int]], nodes: int) -> None:
    plain, clever = World(nodes, 4), World(nodes, 4, scheduler="backfill")
    for world in (plain, clever):
        for number, (seconds, cores, wanted, _) in enumerate(jobs):
            world.submit(number, seconds, cores, min(wanted, nodes), float(seconds))
        world.run()
    # the first that had to wait starts no later than without backfill
    first = next((key for key, start in plain.times("run").items() if start > 0), None)
    if first is not None:
        assert clever.times("run")[first] <= plain.times("run")[first]


# ---- how jobs end ----------------------------------------------------------------------------------


def test_a_walltime_ends_a_job_and_only_one_that_takes_longer() -> None:
    world = World()
    world.submit(0, 10, walltime=4.0)
    world.submit(1, 4, walltime=4.0)
    world.run()
    assert world.ends() == {"a-0": ("failed", "walltime"), "a-1": ("success", "")}
    assert world.times("inactive") == {"a-0": 4, "a-1": 4}


def test_a_failure_has_its_reason_code_and_signal_and_no_figures() -> None:
    world = World()
    world.submit(0, 10, failures=[("exit", 1.0)], exit_code=7, figures={"p": 1.0})
    world.submit(1, 10, failures=[("signal", 1.0)])
    world.submit(2, 10, figures={"p": 1.0})
    world.run()
    ends = {e.key: e for e in world.events if isinstance(e, JobEvent) and e.state == "inactive"}
    assert (ends["a-0"].reason, ends["a-0"].exit_code, ends["a-0"].figures) == ("exit", 7, None)
    assert (ends["a-1"].reason, ends["a-1"].exit_code, ends["a-1"].signal) == ("signal", -1, 9)
    assert (ends["a-2"].outcome, ends["a-2"].exit_code, ends["a-2"].figures) == ("success", 0, {"p": 1.0})


def test_what_a_job_draws_does_not_depend_on_the_machine() -> None:
    found = []
    for cores, scheduler in ((1, "fifo"), (7, "fifo"), (3, "backfill")):
        world = World(1, cores, scheduler=scheduler)
        for number in range(30):
            world.submit(number, distribution("gamma", {"mean": 10, "cv": 0.5}))
        world.run()
        starts, ends = world.times("run"), world.times("inactive")
        found.append({key: round(ends[key] - starts[key], 9) for key in starts})
    assert found[0] == found[1] == found[2]


def test_a_cancelled_job_ends_once_frees_its_place_and_nothing_that_is_cancelled_starts() -> None:
    world = World(1, 2)
    for number in range(5):
        world.submit(number, 10, cores=2)
    world.run(until=T0 + 3)
    world.queue.cancel([("a-0", 1), ("a-1", 1), ("a-2", 2), ("a-9", 1)])
    world.run()
    assert world.ends() == {
        "a-0": ("cancelled", "cancelled"),
        "a-1": ("cancelled", "cancelled"),
        "a-2": ("success", ""),
        "a-3": ("success", ""),
        "a-4": ("success", ""),
    }
    assert world.times("run") == {"a-0": 0, "a-2": 3, "a-3": 13, "a-4": 23}


def test_overhead_holds_the_place_and_is_no_part_of_the_duration() -> None:
    world = World(1, 1, overhead="2s")
    world.submit(0, 10)
    world.submit(1, 10)
    world.run()
    assert world.times("run") == {"a-0": 2, "a-1": 14}
    assert world.times("inactive") == {"a-0": 12, "a-1": 24}


def test_a_job_cancelled_while_it_starts_never_runs() -> None:
    world = World(1, 1, overhead=5)
    world.submit(0, 10)
    world.queue.cancel([("a-0", 1)])
    world.run()
    assert (world.times("run"), world.ends()) == ({}, {"a-0": ("cancelled", "cancelled")})


def test_stop_takes_what_there_is_to_its_end_or_cancels_it_and_then_says_closed() -> None:
    for mode, outcome in (("drain", "success"), ("cancel", "cancelled")):
        world = World(1, 1)
        world.submit(0, 10)
        world.submit(1, 10)
        world.queue.stop(mode)
        world.run()
        assert {end for end, _ in world.ends().values()} == {outcome}
        assert isinstance(world.events[-1], MemberEvent)
        assert world.events[-1].name == "closed"


# ---- the machine -----------------------------------------------------------------------------------


def sizes(world: World) -> list[tuple[float, int]]:
    return [(event.time - T0, event.nodes_up) for event in world.events if isinstance(event, MemberEvent)]


def test_growth_takes_its_provisioning_and_gives_places() -> None:
    world = World(1, 1, max_nodes=3, provision=30)
    for number in range(4):
        world.submit(number, 100)
    world.queue.resize(3)
    world.run()
    assert sizes(world) == [(30, 2), (30, 3)]
    assert world.times("run") == {"a-0": 0, "a-1": 30, "a-2": 30, "a-3": 100}


def test_a_busy_node_leaves_when_its_job_has_ended_and_an_idle_one_at_once() -> None:
    world = World(3, 1)
    world.submit(0, 10)
    world.submit(1, 20)
    world.queue.resize(1)
    world.submit(2, 5)
    world.run()
    assert [nodes for _, nodes in sizes(world)][-1] == 1
    assert world.ends() == {f"a-{n}": ("success", "") for n in range(3)}
    # the third waits for the node that stays
    assert world.times("run")["a-2"] in (10, 20)


def test_a_node_asked_for_and_no_longer_wanted_does_not_come() -> None:
    world = World(1, 1, provision=30)
    world.queue.resize(3)
    world.run(until=T0 + 10)
    world.queue.resize(1)
    world.run()
    assert sizes(world) == []
    assert world.queue.pool.nodes_up == 1


def test_a_node_that_fails_takes_its_jobs_with_it_and_comes_back() -> None:
    world = World(2, 1, node_mtbf=50, node_repair=5, seed=4)
    for number in range(6):
        world.submit(number, 40)
    world.run(until=T0 + 2000)
    outcomes = Counter(world.ends().values())
    assert outcomes[("lost", "infrastructure")] >= 1
    assert sum(outcomes.values()) == 6
    assert {nodes for _, nodes in sizes(world)} <= {0, 1, 2}
    assert any(nodes == 2 for _, nodes in sizes(world))


def test_the_failures_of_a_node_follow_its_mean_time_between_them() -> None:
    world = World(10, 1, node_mtbf=100, node_repair=0)
    world.run(until=T0 + 10_000)
    failures = sum(1 for event in world.events if isinstance(event, MemberEvent)) / 2
    assert failures == pytest.approx(10 * 10_000 / 100, rel=0.1)


def test_sums_are_the_integrals_they_are_called() -> None:
    world = World(2, 4)
    world.submit(0, 10, cores=3)
    world.submit(1, 5, cores=4)
    world.run(until=T0 + 20)
    world.queue.settle()
    assert world.queue.busy_core_seconds == pytest.approx(10 * 3 + 5 * 4)
    assert world.queue.up_core_seconds == pytest.approx(20 * 8)
    assert world.queue.held_node_seconds == pytest.approx(20 * 2)


def test_who_watches_is_told_what_is_free_at_most_every_half_second_and_at_last_rightly() -> None:
    world = World(1, 4, watched=True, numbered=True)
    for number in range(40):
        world.submit(number, 0.1)
    world.run()
    told = [event for event in world.events if isinstance(event, MemberEvent)]
    gaps = [after.time - before.time for before, after in pairwise(told)]
    assert all(gap >= 0.5 - 1e-9 for gap in gaps)
    assert (told[-1].cores_free, told[-1].queue) == (4, {"sched": 0, "run": 0})
    assert [event.n for event in world.events] == list(range(1, len(world.events) + 1))


def test_a_finished_job_is_forgotten() -> None:
    world = World(1, 4)
    for number in range(100):
        world.submit(number, 1)
    world.run()
    queue = world.queue
    assert [len(held) for held in (queue.waiting, queue.running, queue.open_jobs(), queue._happenings)] == [0] * 4


# ---- options ---------------------------------------------------------------------------------------


def test_options_are_read_with_units_and_distributions() -> None:
    options = read_options(
        {"scheduler": "backfill", "provision": {"distribution": "uniform", "min": "1m", "max": "1m"}, "speed": 10}, "m"
    )
    assert options.scheduler == "backfill"
    assert options.provision is not None
    assert options.provision(lambda: 0.5) == 60.0
    assert read_options({}, "m") == SimulatedOptions()
    assert read_options({"node_mtbf": "1h"}, "m").node_repair is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"schedular": "fifo"}, "member m: options: there is no 'schedular'; did you mean 'scheduler'?"),
        ({"scheduler": "sjf"}, "options.scheduler: 'sjf' is no scheduler; there is fifo, backfill"),
        ({"provision": -1}, "options.provision: "),
        ({"provision": {"mean": 3}}, "needs `distribution` or `recorded`"),
        ({"provision": {"recorded": []}}, "`recorded` holds no value"),
        ({"depth": 1.5}, "a whole number"),
        ({"speed": -1}, "a number from 0 to 1e9"),
        ({"overhead": [1]}, "a duration is needed"),
    ],
)
def test_options_that_are_none_are_refused_in_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        read_options(options, "m")
    assert said in str(error.value)
