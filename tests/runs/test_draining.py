"""A run that is drained keeps what waits, and a run that was left can be cancelled: here and at a server."""

import json
import signal

import pytest

from tests.runs.world import Here


@pytest.fixture
def here(tmp_path):
    return Here(tmp_path)


def row(here, *options):
    return json.loads(here("list", "-o", "json", *options))[0]


@pytest.mark.parametrize("how", ["Ctrl-C", "cancel --drain"])
def test_a_drained_run_is_resumed_and_each_job_runs_once(here, how):
    with here.started("run", here.gated()) as run:
        here.until_running(2)
        if how == "Ctrl-C":
            run.send_signal(signal.SIGINT)
        else:
            assert "gated-1: was asked to start no more jobs" in here("cancel", "--drain", "gated-1")
        while row(here)["state"] == "running":
            pass
        here.open_gate()
    assert run.returncode == 130
    assert len(here.ledger.read_text().split()) == 2
    assert (row(here)["state"], row(here)["outcome"]) == ("drained", "drained")
    assert "drained (on request; 3 jobs wait for `ensemble resume`)" in here("status")
    assert "gated-1: success" in here("resume")
    assert sorted(here.ledger.read_text().split()) == [f"work-{n}" for n in range(5)]
    assert "no difference" in here("verify")


def test_a_run_whose_process_was_killed_is_taken_over_to_be_cancelled_and_starts_nothing(here):
    with here.started("run", here.gated()) as run:
        here.until_running(2)
        run.kill()
    assert row(here)["state"] == "interrupted"
    assert "no process worked on it; it was taken over, and ended: cancelled" in here("cancel", "gated-1")
    assert row(here)["outcome"] == "cancelled"
    assert len(here.ledger.read_text().split()) == 2
    assert "run gated-1 is over (cancelled)" in here("cancel", "gated-1", code=2)
