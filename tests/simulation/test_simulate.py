"""Whole ensembles in virtual time: rules, members, functions and ends are those of a run."""

from __future__ import annotations

import math
from textwrap import dedent
from typing import Any

import pytest
from tests.simulation.world import checked, one, spec

from ensemble.model.decisions import Record
from ensemble.model.errors import InputError
from ensemble.model.events import FunctionReturned, JobEvent, MemberEvent
from ensemble.simulation import simulate
from ensemble.spec.loader import loads

# ---- rules ---------------------------------------------------------------------------------------


def test_rules_fire_as_in_a_run_at_the_virtual_time_of_what_they_wait_for() -> None:
    fired: dict[str, float] = {}

    def observe(record: Record) -> None:
        for step in record.steps:
            if hasattr(step, "rule") and step.rule not in fired:
                fired[step.rule] = record.at - 1.0

    text = """
    jobs:
      - {name: sleep, command: sleep 10, count: 5, submit: start}
      - {name: echo, command: echo hello, submit: rules}
      - {name: late, command: echo late, submit: rules}
    rules:
      - {id: third, trigger: metric, name: count.sleep.success, when: 3, action: {name: submit, label: echo}}
      - {id: tick, trigger: interval, seconds: 7, action: {name: submit, label: late, repetitions: 2}}
      - {id: slow, trigger: metric, name: mean.sleep.duration, when: "> 10.5", action: {name: terminate}}
      - {id: quiet, trigger: idle, action: {name: submit, label: late}}
    """
    run = simulate(spec(text, cores=2), observers=[observe]).runs[0]
    assert run.outcome == "success"
    assert fired == {"third": 20.0, "tick": 7.0, "quiet": 30.0}
    assert run.firings == {"third": 1, "tick": 2, "slow": 0, "quiet": 1}


def test_figures_of_merit_steer_and_points_keep_their_own() -> None:
    text = """
    jobs:
      - name: melt
        parameters: {T: [1.0, 2.0]}
        count: 3
        submit: start
        command: lmp
        outputs: {pressure: '^P (.*)'}
        simulate: {duration: 1, figures: {pressure: {distribution: normal, mean: 10, cv: T / 10}}}
    rules:
      - id: more
        trigger: metric
        for_each: T
        when: rel_ci95.melt.pressure > 0.05 and count.melt.active == 0
        action: {name: submit, label: melt, value: 1, repetitions: 500}
    """
    run = one(text, seed=5)
    cool, hot = run.points
    assert (cool.name, hot.name) == ("melt[T=1.0]", "melt[T=2.0]")
    # the wider the figure scatters the more it is repeated, by the square of the spread
    assert hot.counts["success"] > 2 * cool.counts["success"] > 6
    assert hot.quantities["pressure"]["mean"] == pytest.approx(10, rel=0.1)


def test_growth_is_provisioned_and_paid_for() -> None:
    text = """
    jobs: [{name: a, command: app, count: 40, submit: start, simulate: {duration: 100}}]
    rules:
      - {trigger: job-run, name: a, action: {name: grow, value: 3}}
    """
    slow = one(text, nodes="{min: 1, max: 4}", cores=1, options="{provision: 500}", price="1")
    fast = one(text, nodes="{min: 1, max: 4}", cores=1, price="1")
    assert fast.makespan == 1000
    assert slow.makespan == 500 + math.ceil((40 - 5) / 4) * 100
    assert fast.held_node_hours == pytest.approx(4 * 1000 / 3600)
    assert slow.held_node_hours == pytest.approx((500 + 4 * (slow.makespan - 500)) / 3600)
    assert slow.cost == pytest.approx(slow.held_node_hours)


def test_retries_failures_and_limits_are_those_of_the_engine() -> None:
    text = """
    jobs:
      - {name: a, command: app, count: 300, submit: start, retries: 1, simulate: {duration: 1, failure_rate: 0.2}}
    """
    run = one(text)
    assert run.outcome == "failed"
    assert run.counts["success"] + run.counts["failed"] == 300
    assert run.counts["failed"] == pytest.approx(300 * 0.04, abs=8)
    limited = one(dedent(text) + "limits: {failures: 2}\n")
    assert limited.outcome == "limit"
    assert limited.counts["success"] < run.counts["success"], "what still waited was cancelled"


def test_walltime_limits_and_cancels_happen_in_virtual_time() -> None:
    text = (
        "jobs: [{name: a, command: app, count: 3, simulate: {duration: 1d}}]\nlimits: {walltime: 1h, on_limit: cancel}"
    )
    run = one(text)
    assert (run.outcome, run.makespan, run.counts["cancelled"]) == ("limit", 3600, 3)


def test_a_group_may_avoid_the_hosts_on_which_it_failed() -> None:
    text = """
    jobs:
      - name: a
        command: app
        count: 20
        retries: {limit: 3, elsewhere: true}
        simulate: {duration: 1, failure_rate: 0.4}
    """
    hosts: dict[str, list[str]] = {}

    def observe(record: Record) -> None:
        if isinstance(record.event, JobEvent) and record.event.state == "run":
            hosts.setdefault(record.event.key, []).append(record.event.hosts)

    simulate(spec(text, nodes="8", cores=4), observers=[observe])
    again = [tried for tried in hosts.values() if len(tried) > 1]
    assert again
    assert all(len(set(tried)) == len(tried) for tried in again)


def test_an_algorithm_runs_in_simulation() -> None:
    text = """
    jobs: [{name: a, command: app, count: 200, simulate: {duration: 1, failure_rate: 0.3}}]
    algorithm: {name: workload-success, options: {successes: 50}}
    """
    run = one(text)
    assert 50 <= run.counts["success"] < 200


# ---- members -------------------------------------------------------------------------------------


def test_members_of_every_kind_are_simulated_with_their_own_size() -> None:
    text = """
    members:
      here: {kind: local, nodes: 2, cores: 3}
      there: {kind: simulated, nodes: 1, cores: 6}
    jobs:
      - {name: a, command: app, count: 12, member: here, simulate: {duration: 10}}
      - {name: b, command: app, count: 12, member: there, simulate: {duration: 7}}
    """
    run = checked(loads(dedent(text))).runs[0]
    assert run.makespan == 20
    assert [group.quantities["duration"]["mean"] for group in run.groups] == [10, 7]


def test_a_job_that_never_fits_fails_with_a_note() -> None:
    run = one("jobs: [{name: a, command: app, tasks: 9, simulate: {duration: 1}}]", nodes="2")
    assert (run.outcome, run.counts["failed"], run.notes) == ("failed", 1, {"never-fits": 1})


def test_jobs_that_differ_within_a_point_are_each_their_own() -> None:
    run = one("jobs: [{name: a, command: app, count: 3, simulate: {duration: '10 * attempt + {attempt}'}}]")
    assert run.makespan == 11


def test_members_tell_their_sizes_to_rules_that_read_them() -> None:
    text = """
    jobs:
      - {name: a, command: app, count: 4, submit: start, simulate: {duration: 10}}
      - {name: filler, command: app, submit: rules, simulate: {duration: 1}}
    rules:
      - {trigger: metric, name: cores.free, when: ">= 2", action: {name: submit, label: filler, repetitions: 3}}
    """
    told: list[MemberEvent] = []

    def observe(record: Record) -> None:
        if isinstance(record.event, MemberEvent):
            told.append(record.event)

    run = simulate(spec(text), observers=[observe]).runs[0]
    assert run.firings["rule-1"] >= 1
    assert len(told) > 2


# ---- ends ----------------------------------------------------------------------------------------


def test_an_ensemble_that_cannot_go_on_is_stuck_and_says_why() -> None:
    text = """
    jobs: [{name: a, command: app, nodes: 2, submit: start, simulate: {duration: 1}}]
    rules: [{trigger: metric, name: count.a.failed, when: "> 0", action: {name: grow}}]
    """
    run = one(text, nodes="{min: 1, max: 4}")
    assert run.outcome == "stuck"
    assert "a-0 waits on member m: it needs 2 nodes and there are at most 1" in run.reason


def test_timers_that_come_to_nothing_do_not_hide_that_it_is_stuck() -> None:
    text = """
    jobs: [{name: a, command: app, nodes: 2, submit: start, simulate: {duration: 1}}]
    rules:
    - {trigger: interval, seconds: 1, when: count.a.success > 0, action: {name: stop}}
    - {trigger: metric, name: count.a.failed, when: "> 0", action: {name: grow}}
    """
    assert one(text, nodes="{min: 1, max: 4}").outcome == "stuck"


def test_an_ensemble_without_end_is_endless_after_the_time_given() -> None:
    text = """
    jobs: [{name: a, command: app, submit: start, simulate: {duration: 100}}]
    rules: [{trigger: job-finish, name: a, action: {name: submit, label: a, repetitions: unlimited}}]
    """
    run = simulate(spec(text), until=5000).runs[0]
    assert (run.outcome, run.counts["success"], run.makespan) == ("endless", 50, 5000)


# ---- custom functions ----------------------------------------------------------------------------


CUSTOM = """
jobs:
  - {name: a, command: app, count: 4, submit: start, simulate: {duration: 3}}
  - {name: b, command: app, submit: rules, simulate: {duration: 2}}
rules:
  - {trigger: metric, name: count.a.success, when: ">= 4", action: {name: custom, label: more}}
custom: |
  def more(metrics, **_):
      return Action(name="submit", label="b", value=int(metrics["mean"]["a"]["duration"]))
"""


def test_custom_functions_are_called_and_take_no_virtual_time() -> None:
    run = one(CUSTOM)
    assert {group.group: group.counts["success"] for group in run.groups} == {"a": 4, "b": 3}
    assert run.makespan == 5


def test_custom_functions_can_be_switched_off_or_done_otherwise() -> None:
    off = simulate(spec(CUSTOM), functions=False).runs[0]
    assert (off.counts["success"], off.notes) == (4, {"function-off": 1})

    def call(command: int, function: str, args: dict[str, Any]) -> FunctionReturned:
        assert (function, args["metrics"]["count"]["a"]["success"]) == ("more", 4)
        return FunctionReturned(command, ({"name": "submit", "label": "b", "value": 7},))

    assert simulate(spec(CUSTOM), call=call).runs[0].counts["success"] == 11


# ---- what is assumed -----------------------------------------------------------------------------


def test_what_is_taken_without_being_said_is_said() -> None:
    text = """
    members: {m: {kind: simulated}}
    jobs:
      - {name: a, command: app}
      - {name: b, command: app, walltime: 100}
      - {name: c, command: sleep 3}
      - {name: d, command: app, simulate: {duration: 1}}
      - {name: e, command: app, outputs: {p: (x)}, valid: p > 0 and duration > 1, simulate: {duration: 2}}
    """
    result = checked(loads(dedent(text)))
    cores = result.assumed[1]
    assert result.assumed == (
        "group e: `valid` is taken as true, for nothing says what p would be (`simulate.figures`)",
        cores,
        "group a: durations from nothing: 10 s",
        "group b: durations from 50% of the walltime",
        "group c: durations from the command",
        "group e: no model for p (`simulate.figures`), so rules on it stay silent",
    )
    assert cores.startswith("member m: ")
    assert cores.endswith(" cores a node, as this machine has")
    assert result.runs[0].counts["success"] == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: [{name: a, command: app, simulate: {duration: 1 / x}}]", "group a: simulate.duration: there is no 'x'"),
        ("jobs: [{name: a, command: app, simulate: {duration: {recorded: nowhere}}}]", "there is no run 'nowhere'"),
    ],
)
def test_a_file_that_cannot_be_simulated_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        one(text)
    assert said in str(error.value)
