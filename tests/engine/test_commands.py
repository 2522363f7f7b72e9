"""Commands are complete when they are made: they are sent later, and the state has moved on by then."""

import re
from pathlib import Path

from ensemble.model.events import Requested
from tests.engine.world import World, submissions

SOURCE = Path(__file__).parents[2] / "src" / "ensemble"


def test_a_job_is_described_as_it_was_submitted_whatever_has_become_of_it_since():
    world = World("jobs: [{name: a, command: 'run {attempt}', retries: {limit: 1, elsewhere: true}, submit: start}]")
    (first,) = submissions(world.engine.commands(world.records[1]))
    world.bad("a-0", hosts="n1")
    world.tell(Requested("action", "me", action={"name": "avoid", "host": "n7"}))
    world.good("a-0")
    assert world.engine.ended.outcome == "success"
    (job,) = first.jobs()
    assert (job.command, job.ref.attempt, job.avoid) == (("run", "1"), 1, ())


def test_a_later_attempt_avoids_what_its_own_job_and_the_run_avoid():
    world = World("jobs: [{name: a, command: x, retries: {limit: 1, elsewhere: true}, submit: start}]")
    world.tell(Requested("action", "me", action={"name": "avoid", "host": "n7"}))
    world.job("a-0", "run", hosts="n1")
    record = world.job("a-0", "inactive", outcome="failed", reason="exit", exit_code=1)
    (again,) = submissions(world.engine.commands(record))
    assert [(job.ref.attempt, job.avoid) for job in again.jobs()] == [(2, ("n7", "n1"))]


def test_a_submission_holds_ranges_and_comes_in_parts():
    world = World("jobs: [{name: a, command: x, count: 5, submit: start}]")
    (whole,) = submissions(world.engine.commands(world.records[1]))
    assert len(whole.batches) == 1
    parts = [[key for key, _ in part.refs()] for part in whole.parts(2)]
    assert parts == [["a-0", "a-1"], ["a-2", "a-3"], ["a-4"]]
    assert [job.ref.key for job in whole.jobs()] == [key for part in parts for key in part]


def test_what_is_sent_again_leaves_out_the_jobs_that_are_over():
    world = World("jobs: [{name: a, command: x, count: 4, submit: start}]", start=False)
    world.answers = False
    world.begin()
    world.good("a-1")
    (again,) = submissions(world.engine.open_commands())
    assert [key for key, _ in again.refs()] == ["a-0", "a-2", "a-3"]


def test_nobody_outside_the_engine_reads_its_state():
    others = [file for file in SOURCE.rglob("*.py") if SOURCE / "engine" not in file.parents]
    reads = re.compile(r"engine\.(state|_\w+)\b|from ensemble\.engine\.state import")
    assert [str(file) for file in others if reads.search(file.read_text())] == []
