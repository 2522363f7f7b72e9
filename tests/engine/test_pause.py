"""A pause starts nothing and loses nothing: what waits goes on after a resume."""

from ensemble.model.events import Requested, RunResumed
from tests.engine.world import World

TWO_AT_ONCE = "jobs: [{name: a, command: 'true', count: 5, max_running: 2}]"


def paused(text, **more):
    world = World(text, **more)
    running = list(world.open)[:1]
    for key in running:
        world.run(key)
    world.tell(Requested("pause", "ada"))
    return world


def take_back(world):
    """What waits in the queue comes back as cancelled."""
    for cancel in world.cancels:
        for key, _ in cancel.refs:
            world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    world.cancels.clear()


def test_what_runs_goes_on_what_waits_is_kept_and_nothing_starts():
    world = paused(TWO_AT_ONCE)
    take_back(world)
    assert not world.engine.at_rest
    world.good("a-0")
    assert not world.open
    assert world.engine.at_rest
    status = world.engine.status()
    assert (status.outcome, status.reason) == ("drained", "on request; 4 jobs wait for `ensemble resume`")
    assert (status.total.success, status.total.cancelled, status.total.pending) == (1, 0, 4)
    world.replays()


def test_a_resume_goes_on_with_what_waited_each_job_once():
    world = paused(TWO_AT_ONCE)
    take_back(world)
    world.good("a-0")
    world.tell(RunResumed(2, "0"))
    world.all_good()
    assert world.engine.ended.outcome == "success"
    assert world.engine.status().total.success == 5
    assert world.engine.status().total.failed_attempts == 0
    world.replays()


def test_a_resume_that_shall_stay_paused_starts_nothing():
    world = paused(TWO_AT_ONCE)
    world.tell(RunResumed(2, "0", paused=True))
    take_back(world)
    world.good("a-0")
    assert world.engine.at_rest


def test_rules_go_on_to_submit_jobs_that_wait():
    world = paused(
        "jobs: [{name: a, command: 'true'}, {name: b, command: 'true'}]\n"
        "rules: [{trigger: job-success, name: a, action: {name: submit, label: b}}]"
    )
    world.good("a-0")
    assert world.engine.at_rest
    world.tell(RunResumed(2, "0"))
    assert list(world.open) == ["b-0"]
    world.good("b-0")
    assert world.engine.ended.outcome == "success"


def test_a_pause_when_nothing_waits_lets_the_run_end_as_it_would():
    world = paused("jobs: [{name: a, command: 'true'}]")
    world.good("a-0")
    assert world.engine.ended.outcome == "success"


def test_a_cancel_after_a_pause_drops_what_waits():
    world = paused(TWO_AT_ONCE)
    world.tell(Requested("cancel", "ada"))
    for key in list(world.open):
        world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    assert world.engine.ended.outcome == "cancelled"
    assert world.engine.status().total.cancelled == 5


def test_a_job_that_a_pause_took_back_ten_times_is_not_lost():
    world = World("jobs: [{name: a, command: 'true', count: 2}]", cores=1)
    world.run("a-0")
    for _ in range(12):
        world.tell(Requested("pause", "ada"))
        take_back(world)
        world.tell(RunResumed(2, "0"))
    world.all_good()
    assert world.engine.ended.outcome == "success"
