"""The action `cancel`: end jobs of a group, or the job of the event."""

from __future__ import annotations

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.engine.state import Point
from ensemble.engine.transitions import NEW, RUN
from ensemble.model.decisions import Discard, Effect, Note
from ensemble.model.events import JobEvent
from ensemble.model.jobs import STATES
from ensemble.spec.actions import ActionCheck, register_action
from ensemble.spec.model import ActionSpec


def _check(check: ActionCheck, action: ActionSpec) -> None:
    if action.label:
        check.group(action.label)


def _cancel(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    state = context.state
    if not action.label and isinstance(cause.event, JobEvent):
        job = state.jobs.get(cause.event.key)
        return context.cancel_keys([job.key], "rule") if job is not None else []
    name = action.label
    states = frozenset(action.states)
    effects: list[Effect] = []
    group = state.groups.get(name)
    if group is None:
        return [Note("unknown-group", f"cancel names {name!r}, which is not a group")]

    def concerns(point: Point) -> bool:
        return all(point.values.get(axis, value) == value for axis, value in cause.binding.items())

    if not states or states & {"new", "pending"}:
        points = [point.index for point in group.points if concerns(point)]
        whole = len(points) == len(group.points)
        if group.waiting:
            effects += [Discard(name)] if whole else [Discard(name, index) for index in points]
    keys = [
        job.key
        for job in state.jobs.values()
        if job.group is group and concerns(job.point) and not job.cancelling and _in_states(job.code, states)
    ]
    return effects + context.cancel_keys(keys, "rule")


def _in_states(code: int, states: frozenset[str]) -> bool:
    """Whether a job in that state is meant by the words of `states`."""
    if not states:
        return True
    if code == NEW:
        return bool(states & {"new", "pending", "active"})
    if code >= RUN:
        return bool(states & {"run", "running", "cleanup", "active"})
    return STATES[code] in states or bool(states & {"pending", "active"})


register_action(
    Action(
        name="cancel",
        meaning="Cancel the jobs of group `label` (only those in `states`), or, without a label, the job of the event.",
        keys=("label", "states"),
        while_draining=True,
        check=_check,
        effects=_cancel,
    )
)
