"""The actions `stop`, `terminate` and `stop-member`: an end to the run or to a member."""

from __future__ import annotations

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.model.decisions import Drain, Effect, Note, StopMember
from ensemble.spec.actions import register_action
from ensemble.spec.model import ActionSpec


def _stop(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    return context.drain("stop")


def _terminate(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    return [Drain("terminate"), *context.cancel_all("terminate")]


def _stop_member(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    members = context.state.members
    name = action.member or action.label or next(iter(members))
    member = members.get(name)
    if member is None:
        return [Note("unknown-member", f"stop-member names {name!r}, which is no member")]
    if member.state in ("closed", "gone"):
        return [Note("member-closed", f"stop-member: member {name} is {member.state}")]
    return [StopMember(context.command(), name)]


register_action(
    Action(
        name="stop",
        meaning="Start nothing more, let running jobs finish, then end the run.",
        while_draining=True,
        ends=True,
        effects=_stop,
    )
)
register_action(
    Action(
        name="terminate",
        meaning="Cancel everything, then end the run.",
        while_draining=True,
        ends=True,
        effects=_terminate,
    )
)
register_action(
    Action(
        name="stop-member",
        meaning="Close `member` when its jobs are done.",
        keys=("member", "label"),
        while_draining=True,
        ends=True,
        effects=_stop_member,
    )
)
