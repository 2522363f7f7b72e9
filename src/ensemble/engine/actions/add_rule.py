"""The action `add-rule`: one more rule."""

from __future__ import annotations

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.model.decisions import Effect, Note
from ensemble.spec.actions import ActionCheck, register_action
from ensemble.spec.model import ActionSpec


def _check(check: ActionCheck, action: ActionSpec) -> None:
    if not action.rule:
        check.complain("add-rule needs a `rule`")


def _add_rule(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    if not action.rule:
        return [Note("bad-rule", "add-rule names no rule")]
    return [context.add_rule(action.rule, cause.rule)]


register_action(
    Action(
        name="add-rule",
        meaning="Add `rule` to the rules.",
        keys=("rule",),
        open_ended=True,
        check=_check,
        effects=_add_rule,
    )
)
