"""What becomes of jobs: retries, validity, limits, late and repeated events."""

from ensemble.model.events import JobEvent, MemberEvent, Requested, SubmitAnswered
from tests.engine.world import World


def one(text=""):
    return World("jobs: [{name: a, command: 'true', " + text + "}]")


def outcome(world):
    return world.engine.ended.outcome if world.engine.ended else None


def test_a_retry_is_another_attempt_after_its_delay():
    world = one("retries: {limit: 1, reasons: [signal], delay: 10s}")
    world.bad("a-0", reason="signal")
    assert world.engine.wakeup() is not None
    assert not world.open
    world.wait(10)
    assert world.open["a-0"][0] == 2
    world.bad("a-0", reason="signal")
    cell = world.groups()["a"]
    assert (cell.failed, cell.failed_attempts) == (1, 2)
    assert outcome(world) == "failed"
    world.replays()


def test_a_reason_that_is_not_named_is_not_retried():
    world = one("retries: {limit: 3, reasons: [signal]}")
    world.bad("a-0", reason="exit")
    assert outcome(world) == "failed"


def test_lost_infrastructure_does_not_spend_retries():
    world = one("retries: 1")
    world.job("a-0", "run")
    world.job("a-0", "inactive", outcome="lost", reason="infrastructure")
    assert world.open["a-0"][0] == 2
    world.bad("a-0")
    assert world.open["a-0"][0] == 3
    world.good("a-0")
    assert outcome(world) == "success"
    world.replays()


def test_a_late_event_of_an_earlier_attempt_changes_nothing():
    world = one("retries: 1")
    world.bad("a-0")
    before = world.engine.snapshot()["jobs"]
    world.job("a-0", "inactive", attempt=1, outcome="success", exit_code=0)
    assert world.engine.snapshot()["jobs"] == before
    world.good("a-0")
    assert outcome(world) == "success"


def test_an_event_that_comes_twice_counts_once():
    world = one("count: 2")
    event = JobEvent("local", "a-0", "run", 1.0, 1)
    world.tell(event)
    world.tell(event)
    world.tell(JobEvent("local", "a-0", "run", 1.0, 0))
    assert world.groups()["a"].running == 1
    done = JobEvent("local", "a-0", "inactive", 2.0, 2, outcome="success", exit_code=0)
    world.tell(done)
    world.tell(done)
    world.tell(JobEvent("local", "a-0", "inactive", 2.0, 0, outcome="success", exit_code=0))
    assert world.groups()["a"].success == 1
    assert not world.engine.status().notes


def test_a_missed_start_is_filled_in():
    world = one()
    world.job("a-0", "inactive", outcome="success", exit_code=0, start=world.at - 5)
    assert world.groups()["a"].quantities["duration"].mean == 5
    assert outcome(world) == "success"


def test_an_event_of_no_job_is_a_remark():
    world = one("count: 2")
    world.tell(JobEvent("local", "a-99", "run", 1.0, 1))
    world.tell(JobEvent("local", "what", "run", 1.0, 2))
    assert world.engine.status().notes == {"unknown-job": 2}


def test_valid_decides_on_figures_and_an_unknown_is_not_valid():
    text = "count: 3, outputs: {p: '(\\d+)'}, valid: 'p > 0 and duration < 100'"
    world = one(text)
    world.good("a-0", figures={"p": 3.0})
    world.good("a-1", figures={"p": 0.0})
    world.good("a-2", missing=("p",))
    cell = world.groups()["a"]
    assert (cell.success, cell.failed) == (1, 2)
    assert cell.quantities["p"].count == 1
    assert world.engine.status().notes == {"output-missing": 1}


def test_a_required_output_that_is_missing_fails_the_job():
    world = one("outputs: {p: {pattern: '(\\d+)', required: true}}")
    world.good("a-0", missing=("p",))
    assert world.groups()["a"].failed == 1


def test_warmup_jobs_count_into_no_quantity():
    world = one("count: 3, warmup: 1")
    world.good("a-0", 100.0)
    world.good("a-1", 1.0)
    assert world.groups()["a"].quantities["duration"].mean == 1.0
    assert world.groups()["a"].success == 2


def test_a_limit_on_jobs_creates_what_is_left_and_then_drains():
    world = World("""
limits: {jobs: 5}
jobs: [{name: a, command: 'true', count: 2, submit: start}]
rules: [{trigger: job-success, name: a, action: {name: submit, label: a, value: 2, repetitions: unlimited}}]
""")
    world.all_good()
    assert world.groups()["a"].submitted == 5
    assert outcome(world) == "limit"
    world.replays()


def test_a_limit_on_failures_cancels_the_rest_when_told_so():
    world = World("limits: {failures: 1, on_limit: cancel}\njobs: [{name: a, command: x, count: 3}]")
    world.bad("a-0")
    assert world.cancels
    for key in list(world.open):
        world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    assert (outcome(world), world.engine.ended.reason) == ("limit", "failures")


def test_a_limit_that_drains_cancels_what_waits_in_a_queue_and_lets_run_what_runs():
    world = World("limits: {failures: 1}\njobs: [{name: a, command: x, count: 3}]")
    world.run("a-1")
    world.bad("a-0")
    assert [key for cancel in world.cancels for key, _ in cancel.refs] == ["a-2"]
    world.good("a-1")
    world.job("a-2", "inactive", outcome="cancelled", reason="cancelled")
    assert outcome(world) == "limit"
    world.replays()


def test_a_limit_on_walltime_comes_by_the_clock():
    world = World("limits: {walltime: 1m}\njobs: [{name: a, command: x, count: 2, max_running: 1}]")
    world.wait(60)
    assert world.engine.state.limit == "walltime"
    world.all_good()
    assert outcome(world) == "limit"


def test_a_budget_is_reserved_before_a_job_starts_and_settled_after():
    # 4 cores on a node: a job of 4 cores and an hour reserves one node-hour
    world = World("limits: {node_hours: 2}\njobs: [{name: a, command: x, tasks: 4, walltime: 1h, count: 4}]")
    assert len(world.open) == 2
    world.good("a-0", 1800)
    assert len(world.open) == 1, "half an hour is back, and half an hour is not enough"
    world.good("a-1", 1800)
    assert len(world.open) == 1
    world.good("a-2", 1800)
    assert outcome(world) == "limit"
    assert world.groups()["a"].success == 3
    world.replays()


def test_max_running_holds_jobs_back():
    world = one("count: 5, max_running: 2")
    assert len(world.open) == 2
    world.good("a-0")
    assert list(world.open) == ["a-1", "a-2"]


def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_a_failure():
    world = World("jobs: [{name: a, command: x, count: 2}]", start=True)
    engine = world.engine
    world2 = World("jobs: [{name: a, command: x, count: 2}]", start=False)
    del world2
    assert outcome(world) is None
    record = world.records[1]
    submit = record.steps[0].effects[0]
    fresh = type(engine)(world.spec)
    for one_record in world.records[:2]:
        fresh.apply(one_record)
    fresh.handle(
        SubmitAnswered(submit.id, "local", refused=(("a-0", 1, "busy", True), ("a-1", 1, "no such queue", False))),
        101.0,
    )
    fresh.check()
    assert fresh.status().groups[0].failed == 1
    assert fresh.wakeup() == 106.0


def test_an_inventory_sends_again_what_never_arrived_under_the_same_attempt():
    world = one("count: 2")
    world.tell(MemberEvent("local", "inventory", unsent=(("a-1", 1),)))
    assert world.open["a-1"] == [1, "submitted"]
    assert world.engine.view.open_refs("local") == [("a-0", 1), ("a-1", 1)]
    world.all_good()
    assert outcome(world) == "success"
    world.replays()


def test_blocked_order_makes_rounds_of_one_job_per_point():
    world = World("""
seed: 3
jobs: [{name: a, command: "x {p}", parameters: {p: [1, 2, 3, 4]}, count: 3, order: blocked, max_running: 1}]
""")
    order = []
    while world.open:
        key = next(iter(world.open))
        order.append(int(key[2:]) // 3)
        world.good(key)
    rounds = [order[0:4], order[4:8], order[8:12]]
    assert all(sorted(one_round) == [0, 1, 2, 3] for one_round in rounds)
    assert len({tuple(one_round) for one_round in rounds}) > 1
    world.replays()


def test_derived_values_compare_points():
    world = World("""
jobs: [{name: s, command: "x {N}", parameters: {N: [1, 4]},
        derived: {speedup: "mean.s[N=1].duration / mean.s.duration", efficiency: "derived.s.speedup / N"}}]
""")
    world.good("s-0", 8.0)
    world.good("s-1", 4.0)
    points = {point.values["N"]: point.derived for point in world.engine.status().points}
    assert points == {1: {"speedup": 1.0, "efficiency": 1.0}, 4: {"speedup": 2.0, "efficiency": 0.5}}


def test_an_attempt_that_no_budget_covers_ends_the_run_by_its_limit():
    world = World(
        "limits: {node_hours: 1}\njobs: [{name: a, command: x, tasks: 4, walltime: 1h, retries: {limit: 1, delay: 5s}}]"
    )
    world.bad("a-0", 1800)
    world.wait(5)
    assert (outcome(world), world.engine.ended.reason) == ("limit", "node_hours")
    assert world.groups()["a"].cancelled == 1
    world.replays()


def test_an_attempt_that_fits_nowhere_any_more_is_given_up():
    world = World(
        "members: {m: {nodes: 1}, o: {nodes: 1}}\n"
        "jobs: [{name: a, command: x, tasks: 4, retries: {limit: 1, delay: 5s}}]"
    )
    holder = world.where["a-0"]
    other = {"m": "o", "o": "m"}[holder]
    world.tell(MemberEvent(other, "closed"))
    world.bad("a-0")
    world.tell(MemberEvent(holder, "gone"))
    world.wait(5)
    assert world.groups()["a"].lost == 1
    assert outcome(world) == "failed"


def test_a_stop_does_not_rename_an_end_that_is_under_way():
    world = World("jobs: [{name: a, command: x, count: 2}]\nrules: [{trigger: job-cancel, action: {name: stop}}]")
    world.tell(Requested("terminate", "me"))
    for key in list(world.open):
        world.job(key, "inactive", outcome="cancelled", reason="cancelled")
    assert outcome(world) == "terminated"


def test_jobs_that_were_cancelled_from_outside_are_counted_by_what_the_queue_says():
    world = World("jobs: [{name: a, command: x, count: 4}]")
    world.job("a-0", "inactive", outcome="cancelled", reason="cancelled", text="cancelled by user flux")
    world.tell(Requested("cancel-jobs", "me", keys=("a-1",)))
    world.job("a-1", "inactive", outcome="cancelled", reason="cancelled")
    world.job("a-2", "inactive", outcome="cancelled", reason="cancelled", text="cancelled by user flux")
    world.good("a-3")
    assert world.engine.status().cancelled_outside == {"cancelled by user flux": 2}
    assert world.groups()["a"].cancelled == 3
    world.replays()


def test_what_a_member_that_was_stopped_cancels_is_not_from_outside():
    world = World("jobs: [{name: a, command: x, submit: auto}]")
    world.tell(Requested("terminate", "me"))
    world.job("a-0", "inactive", outcome="cancelled", reason="cancelled")
    assert world.engine.status().cancelled_outside == {}
