"""Every legal move of a job has a name; any other is refused with the history of the job."""

import pytest

from ensemble.engine.transitions import CLEANUP, CODES, INACTIVE, MOVES, NEW, RUN, SUBMITTED, move
from ensemble.model.errors import InvariantError
from ensemble.model.events import JobEvent
from ensemble.model.jobs import STATES
from tests.engine.world import World, notes

EFFECTS = [name for name in MOVES if name != "report"]


def job_in(state):
    world = World("jobs: [{name: a, command: x, submit: start}]")
    job = world.engine.state.jobs["a-0"]
    job.code = CODES[state]
    return job


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", EFFECTS)
def test_a_move_is_made_from_its_states_and_from_no_other(name, state):
    job = job_in(state)
    if CODES[state] in MOVES[name].before:
        move(job, name)
        assert job.code == MOVES[name].after
    else:
        with pytest.raises(InvariantError, match=f"{name} is no legal move of a job in state {state}: a-0: attempt 1"):
            move(job, name)


@pytest.mark.parametrize("after", STATES[1:])
@pytest.mark.parametrize("before", STATES[1:-1])
def test_a_member_reports_later_states_only(before, after):
    world = World("jobs: [{name: a, command: x, count: 2, submit: start}]")
    for state in (before, after):
        if state != "submitted":
            world.job("a-0", state, outcome="failed" if state == "inactive" else "", reason="exit")
    job = world.engine.state.jobs.get("a-0")
    assert (INACTIVE if job is None else job.code) == max(CODES[before], CODES[after])
    assert CODES[before] in MOVES["report"].before


def test_the_message_of_an_illegal_move_has_the_states_and_times_of_the_job():
    world = World("jobs: [{name: a, command: x, retries: 1, submit: start}]")
    world.bad("a-0", 2.0)
    world.job("a-0", "run", 1.5)
    with pytest.raises(InvariantError) as raised:
        move(world.engine.state.jobs["a-0"], "submit")
    assert str(raised.value) == (
        "submit is no legal move of a job in state run: a-0: attempt 2, run, submitted to local at 102.000, "
        "running since 103.500 (its member's 103.500), failed 1 and lost 0 attempts before"
    )


def test_a_report_of_an_attempt_that_was_never_sent_is_noted_with_the_history():
    world = World("jobs: [{name: a, command: x, retries: {limit: 1, delay: 60s}, submit: start}]")
    world.bad("a-0")
    world.tell(JobEvent("local", "a-0", "run", 1.0, attempt=2))
    assert notes(world, "illegal-transition")[0].startswith("run before it was submitted: a-0: attempt 2, new")
    assert (NEW, SUBMITTED, RUN, CLEANUP, INACTIVE) == (0, 1, 4, 5, 6)
