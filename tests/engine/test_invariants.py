"""`check()` finds what is wrong: each count, index and reservation, spoiled by hand, is named."""

import pytest

from ensemble.model.decisions import End, Span
from ensemble.model.errors import InvariantError
from ensemble.model.events import JobEvent
from tests.engine.world import World

TEXT = """
members: {local: {nodes: {min: 1, max: 4}, price: 1 USD/node-hour}}
limits: {walltime: 1h}
jobs:
  - {name: a, command: "x {T}", parameters: {T: [1, 2]}, count: 4, max_running: 2, submit: start, walltime: 1m,
     retries: 1}
  - {name: b, command: x, submit: rules}
rules:
  - {trigger: metric, name: count.a.success, when: "> 5", action: {name: submit, label: b}}
  - {trigger: metric, name: count.a.success, when: "> 7", action: {name: submit, label: b}}
  - {trigger: metric, when: "count.a.success > 1 and count.b.success > 3", action: {name: submit, label: b}}
  - {trigger: job-success, name: a, action: {name: submit, label: b, value: 1, repetitions: 2, cooldown: 60s}}
  - {trigger: job-run, name: a, action: {name: grow, repetitions: 2}}
"""


@pytest.fixture
def world():
    world = World(TEXT)
    world.good("a-0")
    world.good("a-1")
    world.run(next(key for key in world.open if key.startswith("a-")))
    world.engine.check()
    return world


def job(state):
    return next(job for job in state.jobs.values() if job.code == 1)


def running(state):
    return next(job for job in state.jobs.values() if job.code == 4)


def watched(state):
    return state.groups["a"].whole.watch["success"]


def shift(cell, one, other):
    """One job fewer here, one more there."""
    setattr(cell, one, getattr(cell, one) - 1)
    setattr(cell, other, getattr(cell, other) + 1)


def half_ended(job):
    job.code, job.waits = 6, False


def end(state):
    state.ended = End("success")


SPOILS = {
    "jobs in the backlog": lambda s: setattr(s.groups["a"], "waiting", 1),
    "backlog": lambda s: setattr(s, "backlog", 1),
    "bits of finished jobs": lambda s: s.groups["a"].done.append(1),
    "created": lambda s: setattr(s.groups["a"].whole, "submitted", 3),
    "jobs with a member": lambda s: setattr(s.groups["a"], "outstanding", 7),
    "running": lambda s: shift(s.groups["a"].whole, "pending", "running"),
    "active": lambda s: shift(s.groups["a"].cells[("T", 1),], "pending", "cancelled"),
    "waits": lambda s: s.groups["a"].whole.waits.enter(5.0),
    "total pending": lambda s: shift(s.total, "pending", "running"),
    "finished": lambda s: setattr(s.groups["b"].whole, "success", -1),
    "outstanding": lambda s: setattr(s.members["local"], "outstanding", 0),
    "cores of what it holds": lambda s: setattr(s.members["local"], "outstanding_cores", 0),
    "is 'odd'": lambda s: setattr(s.members["local"], "state", "odd"),
    "negative position": lambda s: setattr(s.members["local"], "target", -1),
    "reserved node-seconds": lambda s: setattr(s, "reserved_node_seconds", 1e9),
    "reserved cost": lambda s: setattr(s, "reserved_cost", 1e9),
    "spent is negative": lambda s: setattr(s, "spent_cost", -1.0),
    "open commands": lambda s: s.calls.clear(),
    "the next is": lambda s: setattr(s, "next_command", 1),
    "which is not open": lambda s: s.calls.update({99: "rule-1"}),
    "which is gone": lambda s: setattr(s.members["local"], "state", "gone"),
    "no heap": lambda s: s.timers.insert(0, (1e12, 0, "limit", "walltime")),
    "was due": lambda s: setattr(s, "now", 1e9),
    "timers of its cooldown": lambda s: s.timers.remove(next(one for one in s.timers if one[2] == "cooldown")),
    "rules of one place": lambda s: setattr(s.rules["rule-3"], "order", s.rules["rule-4"].order),
    "repetitions": lambda s: setattr(s.rules["rule-4"], "fired", 9),
    "negative count": lambda s: setattr(s.rules["rule-4"], "skip", -1),
    "parked is": lambda s: setattr(s.rules["rule-1"], "parked", True),
    "places in the index": lambda s: watched(s).general.clear(),
    "in order": lambda s: next(iter(watched(s).thresholds.values())).above.reverse(),
    "is in the index of values": lambda s: s.rules["rule-4"].homes.append((watched(s), "")),
    "does not wait for": lambda s: s.groups["a"].on["job-run"].add(s.rules["rule-4"]),
    "is not woken by": lambda s: s.groups["a"].on.clear(),
    "not put in order": lambda s: s.groups["a"].mixing.append(Span("a", 0, 1, 1)),
    "no range of its backlog": lambda s: s.groups["a"].backlog.append(Span("b", 0, 1, 1)),
    "in 2 of backlog": lambda s: s.groups["a"].backlog.append(Span("a", 0, 0, 1)),
    "place of a point": lambda s: setattr(s.groups["a"].points[0], "index", 1),
    "cells": lambda s: setattr(s.groups["a"].points[0], "measured", ()),
    "last cell": lambda s: setattr(s.groups["a"].points[0], "cells", ()),
    "is not found by": lambda s: s.groups["a"].by_value.update({("T", 1): []}),
    "points by values": lambda s: s.groups["a"].by_values.clear(),
    "points by shape": lambda s: s.groups["a"].shapes.clear(),
    "its key": lambda s: s.jobs.update({"q": job(s)}),
    "which has made": lambda s: setattr(job(s), "number", 99),
    "waits in a queue": lambda s: setattr(running(s), "waits", True),
    "marked as finished": lambda s: job(s).group.mark_done(job(s).number),
    "nothing was decided": lambda s: half_ended(job(s)),
    "end that was decided on": lambda s: setattr(job(s), "last", JobEvent("local", "a-0", "inactive")),
    "has not ended": lambda s: setattr(running(s), "code", 5),
    "it has not begun": lambda s: setattr(job(s), "run_at", 5.0),
    "runs since never": lambda s: setattr(running(s), "run_at", 0.0),
    "which is no member": lambda s: setattr(job(s), "member", "z"),
    "ready for another": lambda s: s.groups["a"].ready.append("a-0"),
    "ready twice": lambda s: s.groups["a"].ready.extend(["a-0", "a-0"]),
    "the ensemble is over": end,
    "of durations": lambda s: [s.groups["a"].whole.quantity("p").add(1.0) for _ in range(9)],
    "durations of": lambda s: [s.groups["a"].whole.quantity("duration").add(1.0) for _ in range(9)],
}


@pytest.mark.parametrize("what", SPOILS)
def test_a_spoiled_state_is_named(world, what):
    SPOILS[what](world.engine.state)
    with pytest.raises(InvariantError) as caught:
        world.engine.check()
    assert what in str(caught.value)
