"""The actions `grow`, `shrink` and `scale`: the size of a member."""

from __future__ import annotations

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.engine.budget import Budget
from ensemble.engine.placement import resizing
from ensemble.model.decisions import Effect, Note, Resize
from ensemble.model.wording import counted
from ensemble.spec.actions import register_action
from ensemble.spec.model import ActionSpec


def _resize(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    state = context.state
    name = action.member or _resizable(context)
    member = state.members.get(name)
    if member is None:
        return [Note("unknown-member", f"{action.name} names {name!r}, which is no member")]
    if member.state in ("closed", "gone"):
        return [Note("member-closed", f"{action.name}: member {name} is {member.state}")]
    if member.opened and "resize" not in member.capabilities:
        return [Note("unsupported-action", f"member {name} cannot {action.name}")]
    value = 1 if action.value is None else int(action.value)
    # until it reports its size, it is as large as the file says
    present = member.target
    if not present and not resizing(state, name):
        present = member.nodes_up if member.nodes_up >= 0 else member.nodes
    wanted = {"grow": present + value, "shrink": present - value, "scale": value}[action.name]
    wanted = max(wanted, member.min_nodes, 0)
    if member.max_nodes:
        wanted = min(wanted, member.max_nodes)
    covered = Budget(state, context.builder).nodes_covered(member, present, wanted)
    if covered < wanted:
        what = f"limits.cost covers {covered} until its jobs have ended"
        if covered <= present:
            return [Note("resize-bound", f"{action.name}: member {name} stays at {counted(present, 'node')}: {what}")]
        wanted = covered
    if wanted == present:
        return [Note("resize-bound", f"{action.name}: member {name} stays at {counted(present, 'node')}")]
    return [Resize(context.command(), name, wanted)]


def _resizable(context: Context) -> str:
    """The first member whose size can change, else the first."""
    members = context.state.members
    return next((name for name, member in members.items() if "resize" in member.capabilities), next(iter(members)))


register_action(
    Action(
        name="grow",
        meaning="Add `value` nodes to `member` (by default 1), up to its `max`.",
        keys=("member", "value"),
        older=("scale-up",),
        resizes=True,
        grows=True,
        effects=_resize,
    )
)
register_action(
    Action(
        name="shrink",
        meaning="Take `value` nodes from `member` (by default 1), down to its `min`.",
        keys=("member", "value"),
        older=("scale-down",),
        resizes=True,
        while_draining=True,
        effects=_resize,
    )
)
register_action(
    Action(
        name="scale",
        meaning="Bring `member` to `value` nodes or instances.",
        keys=("member", "value"),
        resizes=True,
        grows=True,
        effects=_resize,
    )
)
