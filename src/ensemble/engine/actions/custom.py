"""The action `custom`: call a Python function."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.engine.view import metrics_for_function
from ensemble.model.decisions import Call, Effect
from ensemble.spec.actions import ActionCheck, register_action
from ensemble.spec.convert import nearest
from ensemble.spec.model import ActionSpec


def _check(check: ActionCheck, action: ActionSpec) -> None:
    if not action.label:
        check.complain("custom needs the function in `label`")
    elif ":" in action.label:
        return
    elif check.spec.custom:
        known = check.functions()
        if known is not None and action.label not in known:
            check.complain(f"there is no function {action.label!r} in `custom`", "label", nearest(action.label, known))
    elif check.place("label", "name").line:  # the Python API has its functions in the script
        check.complain(f"there is no function {action.label!r}: the file has no `custom` code", "label")


def _custom(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    rule = cause.rule
    args: dict[str, Any] = {
        "metrics": metrics_for_function(context.state, context.builder),
        "event": to_builtins(cause.event),
        "action": to_builtins(action),
        "rule": to_builtins(rule.spec) if rule is not None else None,
        "binding": dict(cause.binding),
        "now": context.state.now,
    }
    return [Call(context.command(), action.label, rule.id if rule is not None else "", args)]


register_action(
    Action(
        name="custom",
        meaning="Call the Python function `label` of `custom`; it returns nothing, an action, a rule, or several.",
        keys=("label", "value", "parameters", "states", "member", "host", "options"),
        open_ended=True,
        check=_check,
        effects=_custom,
    )
)
