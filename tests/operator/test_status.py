"""What the status of an Ensemble says, and that it stays small."""

import json

from msgspec.structs import replace

from ensemble.engine import Engine
from ensemble.engine.status import FailureStatus
from ensemble.model.decisions import Create, End, Firing, Record, Span
from ensemble.model.events import MemberEvent, RunStarted, TimerFired
from ensemble.operator.naming import Identity, labels, run_name, service_name
from ensemble.operator.status import conditions, status_of
from ensemble.operator.telling import notices
from ensemble.spec.loader import from_plain


def status(**changes):
    spec = from_plain({"jobs": [{"name": "a", "command": "true", "count": 4}]})
    found = Engine(spec, run="it-01234").status()
    return replace(found, **changes)


def test_a_status_of_ten_thousand_jobs_in_a_thousand_groups_stays_under_100_kb():
    found = status()
    groups = tuple(replace(found.groups[0], group=f"group-{n}", submitted=10) for n in range(1_000))
    total = replace(found.total, submitted=10_000)
    waiting = {f"reason {n} " * 20: 10 for n in range(50)}
    members = tuple(replace(found.members[0], name=f"member-{n}", text="x" * 5_000, waiting=waiting) for n in range(8))
    fields, made = status_of(
        replace(found, groups=groups, total=total, members=members, reason="y" * 10_000), 1, suspended=False
    )
    assert len(json.dumps({**fields, "conditions": conditions(made, 1, {}, 0.0)})) < 100_000


def test_phases_follow_the_run():
    assert status_of(status(), 1, suspended=False)[0]["phase"] == "Running"
    assert status_of(status(), 1, suspended=True)[0]["phase"] == "Suspended"
    assert status_of(status(outcome="success"), 1, suspended=True)[0]["phase"] == "Completed"
    assert status_of(status(outcome="limit"), 1, suspended=False)[0]["phase"] == "Failed"
    assert status_of(status(outcome="drained"), 1, suspended=True)[0]["phase"] == "Suspended"


def test_a_member_of_a_run_that_is_over_waits_for_nothing():
    members = (replace(status().members[0], waiting={"no node has room": 1}),)
    said = [status_of(status(members=members, outcome=out), 1, suspended=False)[0] for out in ("", "success")]
    assert [fields["members"][0]["waiting"] for fields in said] == ["no node has room (1)", ""]


def test_the_reason_says_why_most_jobs_failed():
    failed = status(outcome="failed", reason="3 of 4 jobs did not succeed")
    why = FailureStatus("a", "exit", 3, "a-0", 1, exit_code=2)
    fields, _ = status_of(replace(failed, failures=(why,)), 1, suspended=False)
    assert fields["reason"] == "3 of 4 jobs did not succeed; 3 jobs of a failed: exit code 2"


def test_the_time_of_a_condition_changes_with_its_status_alone():
    _, made = status_of(status(), 1, suspended=False)
    first = {one["type"]: one for one in conditions(made, 1, {}, 100.0)}
    again = {one["type"]: one for one in conditions(made, 2, first, 200.0)}
    assert again["Progressing"]["lastTransitionTime"] == first["Progressing"]["lastTransitionTime"]
    assert again["Progressing"]["observedGeneration"] == 2
    _, over = status_of(status(outcome="success"), 2, suspended=False)
    ended = {one["type"]: one for one in conditions(over, 2, again, 300.0)}
    assert ended["Progressing"]["lastTransitionTime"] != first["Progressing"]["lastTransitionTime"]


def told(event, *steps):
    return [(one.reason, one.text, one.warning) for one in notices(Record(7, 0.0, event, tuple(steps)))]


def test_each_firing_is_told_with_its_reason():
    firing = Firing("wider", {"mean.a.pending": 6.25}, (Create(Span("a", 0, 0, 2)),))
    assert told(TimerFired(), firing, firing) == [
        ("RuleFired", "wider fired because mean.a.pending = 6.25: 2 jobs of a", False)
    ] * 2  # fmt: skip


def test_faults_are_warnings_and_the_end_is_told():
    assert told(MemberEvent("job", "down", text="the API server does not answer")) == [
        ("MemberDown", "member job: the API server does not answer", True)
    ]
    assert told(RunStarted("it-01234", {}, "1")) == [("Started", "run it-01234 began", False)]
    assert told(TimerFired(), End("success")) == [("Completed", "success", False)]
    assert told(TimerFired(), End("failed", "2 jobs")) == [("Failed", "failed: 2 jobs", True)]


def test_names_fit_whatever_the_ensemble_is_called():
    identity = Identity("space", "a" * 200 + ".b", "0123456789")
    assert len(service_name(identity.name)) <= 52
    assert "." not in service_name(identity.name)
    assert all(len(value) <= 63 for value in labels(identity).values())
    assert service_name("a" * 200) != service_name("a" * 201)
    assert run_name(Identity("space", "it", "01234567")) == "it-01234"
