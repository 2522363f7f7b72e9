"""A run that goes on follows a changed file: here and at a server."""

import json

from tests.runs.test_states import place  # noqa: F401 - a fixture
from tests.runs.world import Here
from tests.service.conftest import serve  # noqa: F401 - a fixture


def change(here, old, new):
    path = here.where / "gated.yaml"
    path.write_text(path.read_text().replace(old, new))


def test_it_is_held_to_a_new_limit_and_the_journal_says_who_asked(place):  # noqa: F811
    here, options = place
    with here.started("run", here.gated(), *options):
        here.until_running(2, *options)
        change(here, "jobs:", "limits: {failures: 1}\nrules: [{trigger: job-fail, action: {name: terminate}}]\njobs:")
        assert "gated-1: follows the changed file\n" in here("update", "last", "gated.yaml", *options)
        asked = [json.loads(line) for line in here("events", "last", "-o", "json", *options).splitlines()]
        assert any(one["event"].get("what") == "change" and one["event"]["by"] for one in asked)
        assert "added+1: on job-fail" in here("explain", "last", *options)
        here.open_gate()
    if not options:
        here("verify", "last")


def test_what_it_cannot_follow_is_refused_and_it_goes_on(place):  # noqa: F811
    here, options = place
    with here.started("run", here.gated(), *options):
        here.until_running(2, *options)
        change(here, "count: 5", "count: 6")
        assert "not of jobs; start another run for that" in here("update", "last", "gated.yaml", *options, code=2)
        here.open_gate()
    assert json.loads(here("status", "-o", "json", *options))["total"]["success"] == 5


def test_a_file_with_a_mistake_is_refused_with_its_place(place):  # noqa: F811
    here, options = place
    with here.started("run", here.gated(), *options):
        here.until_running(2, *options)
        change(here, "jobs:", "limits: {failure: 1}\njobs:")
        assert "gated.yaml:4:10: limits: 'failure' is not a key here" in here(
            "update", "last", "gated.yaml", *options, code=2
        )
        here.open_gate()


def test_a_run_that_nobody_works_on_is_not_updated(tmp_path):
    here = Here(tmp_path)
    with here.started("run", here.gated()) as run:
        here.until_running(2)
        run.kill()
    assert "no process works on run gated-1" in here("update", "last", "gated.yaml", code=2)
    here.open_gate()
    here("resume")
