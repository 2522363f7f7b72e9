"""What is said of a run that goes on, and of one that a process has left: here and at a server."""

import json

import pytest

from tests.runs.world import Here
from tests.service.conftest import serve  # noqa: F401 - a fixture


@pytest.fixture(params=["here", "server"])
def place(request, tmp_path):
    """The command line, and the options for where the run is."""
    here = Here(tmp_path)
    if request.param == "here":
        return here, ()
    pytest.importorskip("grpc", reason="the service needs the extra `service`")
    return here, ("--server", request.getfixturevalue("serve")().bound)


def state(here, *options):
    found = json.loads(here("list", "-o", "json", *options))
    return found[0]["state"], found[0]["outcome"]


def finish(here, *options):
    here.open_gate()
    here("resume", *options)
    assert state(here, *options) == ("over", "success")


def test_a_run_that_was_left_on_request_with_jobs_at_members_is_detached(tmp_path):
    here = Here(tmp_path)
    here("run", "--detach", here.gated(most=5))
    assert state(here) == ("detached", "")
    assert "detached" in here("list")
    assert "gated-1: detached (" in here("status")
    finish(here)


def test_a_run_whose_process_was_killed_is_interrupted(tmp_path):
    here = Here(tmp_path)
    with here.started("run", here.gated()) as run:
        here.until_running(2)
        run.kill()
    assert state(here) == ("interrupted", "")
    assert "gated-1: interrupted (2 running, 3 waiting" in here("status")
    finish(here)


def test_the_status_of_a_run_that_goes_on_gives_the_time_until_now(place):
    here, options = place
    with here.started("run", here.gated(), *options):
        here.until_running(2, *options)
        assert state(here, *options) == ("running", "")
        first = json.loads(here("status", "-o", "json", *options))
        later = json.loads(here("status", "-o", "json", *options))
        here.open_gate()
    # nothing has happened in between
    assert first["seq"] == later["seq"]
    assert first["elapsed"] < later["elapsed"]
    assert state(here, *options) == ("over", "success")


def test_what_is_asked_of_a_run_that_is_over_is_refused_in_the_same_words(place):
    here, options = place
    here.open_gate()
    here("run", here.gated(), *options)
    for words in (("cancel", "gated-1"), ("cancel", "gated-1", "no-such-job"), ("cancel", "gated-1", "--drain")):
        answer = here(*words, *options, code=2)
        assert answer == "ensemble: run gated-1 is over (success); nothing can be asked of it any more\n"


def test_rm_refuses_before_it_asks(place):
    here, options = place
    with here.started("run", here.gated(), *options):
        here.until_running(2, *options)
        answer = here("rm", "gated-1", *options, code=2)
        here.open_gate()
    assert "run gated-1 is " in answer
    assert "[y/N]" not in answer
