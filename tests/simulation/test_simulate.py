"""Whole ensembles in virtual time: what comes out is what theory, a hand-made trace or a real run says."""

from __future__ import annotations

import heapq
import math
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.journal import JournalWriter, read
from ensemble.model.decisions import Record
from ensemble.model.errors import InputError
from ensemble.model.events import FunctionReturned, JobEvent, MemberEvent
from ensemble.runtime.index import find
from ensemble.runtime.verify import verify
from ensemble.simulation import Recording, simulate
from ensemble.simulation.compare import compare, recorded_figures
from ensemble.simulation.result import Figures, SimulationResult, estimate
from ensemble.spec.loader import loads
from ensemble.spec.model import EnsembleSpec


def spec(text: str, nodes: str = "1", cores: int = 4, options: str = "{}", price: str = "0") -> EnsembleSpec:
    members = (
        f"members: {{m: {{kind: simulated, nodes: {nodes}, cores: {cores}, options: {options}, price: {price}}}}}\n"
    )
    return loads(members + dedent(text))


def one(text: str, seed: int = 0, **machine: Any) -> Figures:
    return simulate(spec(text, **machine), seed=seed, find=find).runs[0]


def checked(given: EnsembleSpec, **options: Any) -> SimulationResult:
    return simulate(given, find=find, **options)


# ---- against theory --------------------------------------------------------------------------------


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


# ---- rules -----------------------------------------------------------------------------------------


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


# ---- members ---------------------------------------------------------------------------------------


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


def test_a_job_that_never_fits_does_not_run_and_is_named_with_its_size() -> None:
    run = one("jobs: [{name: a, command: app, tasks: 9, simulate: {duration: 1}}]", nodes="2")
    assert run.outcome != "success"
    assert "1 jobs of a (9 cores each) wait and no member takes them" in run.reason or run.counts["failed"] == 1


def test_jobs_that_differ_within_a_point_are_each_their_own() -> None:
    run = one("jobs: [{name: a, command: app, count: 3, simulate: {duration: '10 * attempt + {attempt}'}}]")
    assert run.makespan == 11


# ---- ends ------------------------------------------------------------------------------------------


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


# ---- seeds and repetitions -------------------------------------------------------------------------

RANDOM = """
jobs:
  - name: a
    command: app
    parameters: {T: [1, 2, 3]}
    count: 30
    order: random
    retries: 2
    simulate: {duration: {distribution: gamma, mean: 5 * T, cv: 0.4}, failure_rate: 0.1}
rules:
  - {trigger: metric, name: p95.a.duration, when: "> 15", action: {name: submit, label: a, value: 2}}
"""


def records_of(seed: int) -> list[bytes]:
    found: list[bytes] = []
    simulate(spec(RANDOM), seed=seed, observers=[lambda record: found.append(msgspec.json.encode(record))])
    return found


def test_a_seed_gives_the_same_records_and_another_gives_others() -> None:
    assert records_of(1) == records_of(1)
    assert records_of(1) != records_of(2)


def test_a_seed_gives_the_same_records_under_every_hash_seed() -> None:
    code = (
        "import hashlib, sys; from tests.simulation.test_simulate import records_of;"
        "print(hashlib.sha256(b''.join(records_of(1))).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "77")
    }
    assert len(said) == 1


def test_repetitions_have_seeds_of_their_own_and_an_interval_that_holds_the_truth() -> None:
    result = checked(spec(RANDOM), seed=1, repeat=20)
    assert [run.seed for run in result.runs] == list(range(1, 21))
    assert len({run.makespan for run in result.runs}) == 20
    mean = result.estimates["mean.a[T=2].duration"]
    assert mean.count == 20
    assert mean.ci95 is not None
    assert abs(mean.mean - 10.0) < 2 * mean.ci95 < 2.0


def test_an_interval_is_that_of_student() -> None:
    # Student, The probable error of a mean, Biometrika 6 (1908): the additional hours of sleep
    found = estimate([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert found.mean == pytest.approx(1.58)
    assert found.ci95 == pytest.approx(2.262157 * 1.229995 / math.sqrt(10), rel=1e-5)
    assert (found.min, found.max) == (0.0, 4.6)
    assert estimate([3.0]).ci95 is None


def test_less_than_one_repetition_is_refused() -> None:
    with pytest.raises(InputError):
        simulate(spec(RANDOM), repeat=0)


# ---- custom functions ------------------------------------------------------------------------------

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


# ---- what is assumed -------------------------------------------------------------------------------


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


# ---- recorded runs ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was recorded: itself a simulation, which `verify` cannot tell from a real one."""
    path = tmp_path_factory.mktemp("runs") / "truth-1"
    text = """
    jobs:
      - name: melt
        command: lmp
        parameters: {T: [1.0, 2.0]}
        count: 400
        submit: start
        outputs: {pressure: '^P (.*)'}
        simulate:
          duration: {distribution: gamma, mean: 10 * T, cv: 0.3}
          figures: {pressure: {distribution: normal, mean: 5 * T, std: 0.5}}
          failure_rate: {signal: 0.1}
    """
    simulate(spec(text, cores=16), seed=9, record=path)
    return path


def test_a_recorded_simulation_is_a_run_that_verifies(run_dir: Path) -> None:
    verification = verify(run_dir)
    assert verification.difference == ""
    assert verification.records > 1600
    with pytest.raises(Exception, match="truth-1"):
        JournalWriter.create(run_dir, "again")


def test_a_run_compared_with_itself_is_equal_in_every_row(run_dir: Path) -> None:
    records = list(read(run_dir))
    spec_data = records[0].event.spec  # type: ignore[union-attr]
    again = checked(msgspec.convert(spec_data, EnsembleSpec), seed=9)
    rows = compare(again, records)
    assert len(rows) > 20
    assert {row.ratio for row in rows} == {1.0}
    assert all(row.inside for row in rows)


def test_a_model_from_a_recorded_run_gives_what_was_recorded_within_its_interval(run_dir: Path) -> None:
    records = list(read(run_dir))
    text = """
    jobs:
      - name: melt
        command: lmp
        parameters: {T: [1.0, 2.0]}
        count: 400
        submit: start
        outputs: {pressure: '^P (.*)'}
    """
    result = checked(spec(text, cores=16), seed=100, repeat=10, recorded=Recording(records))
    assert result.assumed == ("group melt: durations from 400 recorded attempts",)
    rows = {row.quantity: row for row in compare(result, records)}
    for quantity in (
        "makespan",
        "mean.melt[T=1.0].duration",
        "mean.melt[T=2.0].duration",
        "std.melt[T=2.0].duration",
        "mean.melt[T=2.0].pressure",
        "count.melt[T=1.0].failed",
    ):
        assert rows[quantity].ratio == pytest.approx(1.0, rel=0.1), quantity


def test_a_file_may_name_the_run_its_durations_come_from(run_dir: Path) -> None:
    text = "jobs: [{name: melt, command: lmp, parameters: {T: [%s]}, count: 50, simulate: {duration: {recorded: %s}}}]"
    recorded = {sample.duration for sample in Recording(read(run_dir)).find("melt", {"T": 2.0}).samples}  # type: ignore[union-attr]
    taken: list[float] = []
    starts: dict[str, float] = {}

    def observe(record: Record) -> None:
        event = record.event
        if isinstance(event, JobEvent) and event.state == "run":
            starts[event.key] = event.time
        elif isinstance(event, JobEvent) and event.outcome == "success":
            taken.append(event.time - starts[event.key])

    simulate(spec(text % ("2.0", run_dir)), observers=[observe])
    assert taken
    assert all(any(abs(value - known) < 1e-6 for known in recorded) for value in taken)
    with pytest.raises(InputError) as error:
        simulate(spec(text % ("3.0", run_dir)))
    assert "has no jobs with T = 3.0 that have ended" in str(error.value)


def test_figures_of_a_run_are_those_its_engine_had(run_dir: Path) -> None:
    figures = recorded_figures(read(run_dir))
    assert figures.counts["submitted"] == 800
    assert figures.outcome == "failed"
    assert figures.utilisation == -1.0


def test_records_without_a_beginning_are_refused(run_dir: Path) -> None:
    with pytest.raises(InputError):
        recorded_figures([])
    with pytest.raises(InputError):
        recorded_figures(list(read(run_dir))[1:])


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
