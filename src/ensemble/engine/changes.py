"""A changed file while the run goes on: other limits, rules and sizes of members.

A rule that stands in both files keeps its state. It is found by all that it says, for most rules have no id. A rule
that was changed is one that goes and one that comes.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import convert, to_builtins

from ensemble.engine.actions.context import Context
from ensemble.engine.placement import resizing
from ensemble.model.decisions import Change, Effect, MemberSize, Note, Resize
from ensemble.spec.changes import FileChanges

_OWNER: Final = "file"
"""The owner of a rule that came with a changed file."""


def changes(context: Context, plain: dict[str, Any]) -> list[Effect]:
    """What the differences to the file, as plain data of `FileChanges`, come to now; nothing where there are none.

    Notes alone say why they are refused: the run is ending, or a limit is on what was not counted from the start.
    """
    state, asked = context.state, convert(plain, FileChanges)
    if state.draining or state.ended is not None:
        return [Note("change", "the run is ending, and its file cannot be changed any more")]
    limits = asked.limits if asked.limits != state.limits else None
    if limits is not None and (limits.cost or limits.node_hours) and not context.builder.plan.budgeted:
        return [
            Note("change", "a limit on cost or node_hours cannot be added to a run that began without one of the two")
        ]
    removed, added = _rules(context, list(asked.rules))
    sizes = tuple(size for size in asked.sizes if size != state.members[size.member].sizes)
    if limits is None and not (removed or added or sizes):
        return []
    effects: list[Effect] = [Change(to_builtins(limits), tuple(removed), sizes)]
    effects += (context.add_rule(rule, None, _OWNER) for rule in added)
    for size in sizes:
        effects += _resize(context, size)
    return effects


def _rules(context: Context, wanted: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """The ids of the rules of the file that are wanted no more, and the rules that are new."""
    builder, state = context.builder, context.state
    present = {rule.id or f"rule-{number}": to_builtins(rule) for number, rule in enumerate(builder.plan.spec.rules, 1)}
    present.update((rule_id, rule) for rule_id, rule, owner in state.added if owner == _OWNER)
    gone = {rule.template or rule.id for rule in state.rules.values() if rule.removed}
    gone |= {each.id for each in state.each if each.removed}
    removed = []
    for rule_id, rule in present.items():
        if rule_id in gone:
            continue
        if rule in wanted:
            wanted.remove(rule)
        else:
            removed.append(rule_id)
    return removed, wanted


def _resize(context: Context, size: MemberSize) -> list[Effect]:
    """Bring a member to the size that the file asks for, if that is another, and within the new bounds."""
    state = context.state
    member = state.members[size.member]
    present = member.target
    if not present and not resizing(state, size.member):
        present = max(member.nodes_up, 0)
    if not member.opened or member.state in ("closed", "gone"):
        return []
    wanted = max(size.nodes if size.nodes != member.nodes else present, size.min_nodes)
    if size.max_nodes:
        wanted = min(wanted, size.max_nodes)
    if wanted == present:
        return []
    if "resize" not in member.capabilities:
        return [Note("unsupported-action", f"the size of member {size.member} cannot be changed")]
    return [Resize(context.command(), size.member, wanted)]
