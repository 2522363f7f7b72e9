"""`status` of an Ensemble: its fields, its phases and its conditions, and what a run makes of them.

Nothing here grows with the number of jobs: groups are listed up to `MOST_GROUPS`, and texts are cut. The service pod
writes what it knows of its run; the operator writes `Ready`, and the rest only while there is no service pod.
"""

from __future__ import annotations

__all__ = ["STATUS", "Condition", "Phase", "conditions", "stamp", "status_of"]

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from ensemble.engine.status import CellStatus, Status
from ensemble.model.wording import counted
from ensemble.report.text import failure

Phase = Literal["Pending", "Running", "Suspended", "Completed", "Failed"]

MOST_GROUPS: Final = 100
MOST_TEXT: Final = 512

_COUNTS: Final = ("submitted", "pending", "running", "success", "failed", "cancelled", "lost")


class Condition(Struct, frozen=True):
    """One condition. `since` is filled in when it is written: it changes only with `status`."""

    type: str
    status: bool
    reason: str
    message: str = ""


def _field(kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": text, **more}


_COUNT_FIELDS: Final = {name: _field("integer", f"Jobs: {name}.") for name in _COUNTS}

STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What has become of it, written by the service pod and the operator.",
    "properties": {
        "observedGeneration": _field("integer", "The generation of the object that this is about.", format="int64"),
        "phase": _field("string", "Pending, Running, Suspended, Completed or Failed."),
        "reason": _field("string", "Why it is in this phase."),
        "run": _field("string", "The name of the run, as in labels of its objects."),
        "outcome": _field("string", "How the run ended: success, failed, limit, cancelled, terminated, stopped."),
        "progress": _field("string", "Jobs that are over, of all jobs so far."),
        "size": _field("integer", "Nodes of all members."),
        "membersReady": _field("integer", "Members that can be reached."),
        "rulesFired": _field("integer", "How often rules fired."),
        "nodeHours": _field("string", "Node-hours spent."),
        "cost": _field("string", "What was spent, with the currency."),
        "startTime": _field("string", "When the run began.", format="date-time"),
        "completionTime": _field("string", "When the run ended.", format="date-time"),
        "artifact": _field("string", "Where the run is saved, once it is verified."),
        "jobs": _field("object", "All jobs by state.", properties=_COUNT_FIELDS),
        "groups": _field(
            "array",
            f"Groups of jobs by state, at most {MOST_GROUPS}.",
            items=_field("object", "One group.", properties={"name": _field("string", "Its name."), **_COUNT_FIELDS}),
        ),
        "members": _field(
            "array",
            "The members.",
            items=_field(
                "object",
                "One member.",
                properties={
                    "name": _field("string", "Its name."),
                    "kind": _field("string", "Its kind."),
                    "state": _field("string", "Whether it can be reached."),
                    "size": _field("integer", "Its nodes."),
                    "waiting": _field("string", "Why its jobs wait."),
                    "message": _field("string", "What it says of itself."),
                },
            ),
        ),
        "conditions": _field(
            "array",
            "Ready, Progressing, Degraded, Completed, Failed, Pushed, Verified and CleanedUp.",
            items=_field(
                "object",
                "One condition.",
                required=["type", "status"],
                properties={
                    "type": _field("string", "Its type."),
                    "status": _field("string", "True, False or Unknown."),
                    "reason": _field("string", "A word for programs."),
                    "message": _field("string", "A sentence for people."),
                    "observedGeneration": _field("integer", "The generation it is about.", format="int64"),
                    "lastTransitionTime": _field("string", "When `status` last changed.", format="date-time"),
                },
            ),
        )
        | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    },
}


def stamp(seconds: float) -> str:
    """A time as the API writes it (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def conditions(
    found: Iterable[Condition], generation: int, before: Mapping[str, Mapping[str, Any]], now: float
) -> list[dict[str, Any]]:
    """Conditions as the API has them; `before` are those of now by type, whose time stays where `status` does."""
    made = []
    for one in found:
        status = "True" if one.status else "False"
        known = before.get(one.type, {})
        since = known.get("lastTransitionTime") if known.get("status") == status else None
        made.append(
            {
                "type": one.type,
                "status": status,
                "reason": one.reason,
                "message": one.message[:MOST_TEXT],
                "observedGeneration": generation,
                "lastTransitionTime": since or stamp(now),
            }
        )
    return made


def status_of(status: Status, generation: int, suspended: bool) -> tuple[dict[str, Any], list[Condition]]:
    """What a run's status is in the object, and its conditions."""
    total = status.total
    ended = total.success + total.failed + total.cancelled + total.lost
    down = [member for member in status.members if member.state == "down"]
    phase: Phase = "Running"
    if status.outcome and status.outcome != "drained":
        phase = "Failed" if status.outcome in ("failed", "limit") else "Completed"
    elif suspended:
        phase = "Suspended"
    over = phase in ("Completed", "Failed")
    reason = _reason(status)
    found: dict[str, Any] = {
        "observedGeneration": generation,
        "phase": phase,
        "reason": reason[:MOST_TEXT],
        "run": status.run,
        "outcome": status.outcome if over else "",
        "progress": f"{ended}/{total.submitted}",
        "size": sum(max(0, member.nodes_up) for member in status.members if member.state not in ("closed", "gone")),
        "membersReady": len(status.members) - len(down),
        "rulesFired": status.firings,
        "nodeHours": f"{status.node_hours:.4g}",
        "jobs": _counts(total),
        "groups": [{"name": group.group, **_counts(group)} for group in status.groups[:MOST_GROUPS]],
        "members": [
            {
                "name": member.name,
                "kind": member.kind,
                "state": member.state,
                "size": max(0, member.nodes_up),
                "waiting": "" if over else _waiting(member.waiting),
                "message": member.text[:MOST_TEXT],
            }
            for member in status.members
        ],
    }
    if status.cost:
        found["cost"] = f"{status.cost:.2f} {status.currency}".strip()
    if status.started:
        found["startTime"] = stamp(status.started)
    if over:
        found["completionTime"] = stamp(status.started + status.elapsed)
    return found, [
        Condition("Progressing", phase == "Running", phase, _moving(phase, status)),
        Condition("Degraded", bool(down), "MemberDown" if down else "MembersUp", _down(down)),
        Condition("Completed", phase == "Completed", status.outcome.capitalize() or "NotOver", reason),
        Condition("Failed", phase == "Failed", status.outcome.capitalize() or "NotOver", reason),
    ]


def _reason(status: Status) -> str:
    """Why it ended, and why most of the jobs that failed did."""
    found = [status.reason] if status.reason else []
    for one in status.failures[:1]:
        why = failure(one.reason, one.exit_code, one.signal) + (f" ({one.text})" if one.text else "")
        found.append(f"{counted(one.count, 'job')} of {one.group} failed: {why}")
    return "; ".join(found)


def _counts(cell: CellStatus) -> dict[str, int]:
    return {name: getattr(cell, name) for name in _COUNTS}


def _waiting(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in reasons.items())[:MOST_TEXT]


def _moving(phase: Phase, status: Status) -> str:
    if phase == "Suspended":
        return f"no further job starts; {counted(status.total.running, 'job')} still running"
    if phase == "Running":
        return f"{counted(status.total.running, 'job')} running, {status.total.pending} waiting"
    return "the run is over"


def _down(down: list[Any]) -> str:
    return "; ".join(f"member {member.name} cannot be reached: {member.text}".rstrip(": ") for member in down)
