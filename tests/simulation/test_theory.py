"""What comes out of a simulation is what theory or a hand-made trace says."""

from __future__ import annotations

import heapq
import math
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.world import one, spec

from ensemble.model.decisions import Record
from ensemble.model.events import JobEvent
from ensemble.simulation import simulate
from ensemble.spec.loader import loads


@settings(max_examples=30, deadline=None)
@given(jobs=st.integers(1, 60), cores=st.integers(1, 8), seconds=st.integers(0, 100))
def test_equal_jobs_take_as_many_rounds_as_the_cores_allow(jobs: int, cores: int, seconds: int) -> None:
    run = one(f"jobs: [{{name: a, command: app, count: {jobs}, simulate: {{duration: {seconds}}}}}]", cores=cores)
    assert run.outcome == "success"
    assert run.makespan == math.ceil(jobs / cores) * seconds
    assert run.counts["success"] == jobs
    assert run.node_hours == pytest.approx(jobs * seconds / cores / 3600)
    if seconds:
        assert run.utilisation == pytest.approx(jobs / cores / math.ceil(jobs / cores))


def test_random_durations_make_the_makespan_of_list_scheduling_with_the_same_draws() -> None:
    events: list[JobEvent] = []

    def observe(record: Record) -> None:
        if isinstance(record.event, JobEvent):
            events.append(record.event)

    duration = "{distribution: weibull, shape: 1.2, mean: 9}"
    text = f"jobs: [{{name: a, command: app, count: 500, simulate: {{duration: {duration}}}}}]"
    run = simulate(spec(text, cores=7), seed=11, observers=[observe]).runs[0]
    starts = {event.key: event.time for event in events if event.state == "run"}
    free = [1.0] * 7
    for event in sorted((event for event in events if event.state == "inactive"), key=lambda e: int(e.key[2:])):
        start = heapq.heappop(free)
        assert starts[event.key] == pytest.approx(start)
        heapq.heappush(free, start + event.time - starts[event.key])
    assert run.makespan == pytest.approx(max(free) - 1.0)


def test_an_open_queue_waits_as_long_as_theory_says() -> None:
    # M/D/1, one job a second in the mean, each 0.5 s. Pollaczek and Khinchine: they wait rho s / (2 (1 - rho))
    text = """
    jobs:
      - {name: clock, command: app, submit: start, simulate: {duration: {distribution: exponential, mean: 1}}}
      - {name: work, command: app, submit: rules, member: server, simulate: {duration: 0.5}}
    rules:
      - {trigger: job-success, name: clock, action: {name: submit, label: clock, repetitions: 20000}}
      - {trigger: job-success, name: clock, action: {name: submit, label: work, repetitions: 20000}}
    """
    given = loads(
        "members: {m: {kind: simulated, cores: 1}, server: {kind: simulated, cores: 1}}\n"
        + dedent(text).replace("name: clock, command", "name: clock, member: m, command")
    )
    run = simulate(given, seed=2).runs[0]
    work = next(group for group in run.groups if group.group == "work")
    assert work.counts["success"] == 20_000
    assert work.quantities["pending"]["mean"] == pytest.approx(0.25, rel=0.1)


def test_cost_is_price_times_the_nodes_held() -> None:
    text = "jobs: [{name: a, command: app, count: 8, simulate: {duration: 1h}}]"
    run = one(text, nodes="2", cores=2, price="0.5 USD/node-hour")
    assert run.makespan == 7200
    assert run.held_node_hours == pytest.approx(4.0)
    assert run.cost == pytest.approx(2.0)
