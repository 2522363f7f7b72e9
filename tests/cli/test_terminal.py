"""The live view, drawn for terminals of several widths."""

import io

import pytest
from rich.console import Console

from ensemble.engine import CellStatus, MemberStatus, Summary
from ensemble.report.estimate import Rate, remaining
from ensemble.report.terminal import standing
from ensemble.spec.model import LimitsSpec
from tests.cli.test_text import status

NO_LIMITS = LimitsSpec()


def cell(group, success=0, failed=0, running=0, pending=0, duration=2.0):
    quantities = {"duration": Summary(success, duration, None, duration, duration)} if success else {}
    submitted = success + failed + running + pending
    return CellStatus(group, {}, submitted, pending, running, success, failed, 0, 0, failed, quantities, {})


def going(*groups, **changed):
    total = cell(
        "*", *(sum(getattr(one, name) for one in groups) for name in ("success", "failed", "running", "pending"))
    )
    return status(groups=groups, points=(), total=total, outcome="", reason="", **changed)


def drawn(status, width=80, limits=NO_LIMITS, **more):
    text = io.StringIO()
    console = Console(file=text, width=width, highlight=False)
    console.print(standing(status, limits, width, **more))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_bar_for_each_group_and_an_estimate_of_the_end():
    lines = drawn(going(cell("melt", 30, 2, 8, 60), cell("post", running=0, pending=5, success=1)), rate=4.0)
    assert lines[0] == "melt-1  75.00 s  about 17 s left  4 jobs/s"
    assert lines[1].startswith("melt ━")
    assert lines[1].endswith("32/100 8 running 60 waiting 2 failed")
    assert lines[2].startswith("post ━")
    assert "─" in lines[2]
    assert "1/6" in lines[2]
    assert lines[2].endswith("5 waiting")
    assert lines[3] == "rules fired: repeat twice"


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width):
    groups = [cell(f"a-group-with-a-very-long-name-{n}", 1000 * n, 10, 5, 99) for n in range(15)]
    limits = LimitsSpec(jobs=1_000_000, cost=12.5, walltime=86400.0, node_hours=1e4, failures=9)
    members = (MemberStatus("slurm", "slurm", "down", 1, 0, 4, 0, 3, (), "slurmctld does not answer " * 9),)
    lines = drawn(going(*groups, members=members), width, limits)
    assert max(len(line) for line in lines) <= width
    assert any("5 more groups" in line for line in lines)


def test_limits_are_shown_as_shares_and_money_has_its_currency():
    lines = drawn(going(cell("melt", 30), cost=3.0), limits=LimitsSpec(jobs=60, cost=12.0, walltime=300.0))
    assert lines[2] == "limits: jobs 50% of 60, cost 25% of 12 USD, walltime 25% of 5 min 00 s"


def test_one_failure_among_very_many_jobs_is_seen_in_the_bar():
    bar = drawn(going(cell("melt", 999_999, 1)), ascii_only=True)[1]
    assert "#!" in bar


def test_a_group_without_a_duration_counts_with_the_mean_of_the_others():
    assert remaining(going(cell("melt", 30, running=2), cell("post", pending=5))) == 6.0


def test_the_end_is_unknown_while_nothing_runs_or_nothing_has_ended():
    assert remaining(going(cell("melt", running=2, pending=5))) is None
    assert remaining(going(cell("melt", 30, pending=5))) is None, "nothing runs"
    assert remaining(going(cell("melt", 30, running=2, pending=4))) == 5.0


def test_the_rate_is_that_of_the_last_half_minute():
    rate = Rate()
    assert rate.add(0.0, 0) is None
    assert rate.add(10.0, 100) == 10.0
    assert [rate.add(40.0 + n, 100) for n in range(2)] == [0.0, 0.0]
