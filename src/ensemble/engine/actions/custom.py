"""The action `custom`: call a Python function."""

from __future__ import annotations

from msgspec import to_builtins

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.engine.calls import given_up, room
from ensemble.model.decisions import Call, CallWaits, Effect, Note
from ensemble.model.events import FunctionReturned
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
    """Call the function now, or once the calls before it have returned."""
    state, rule = context.state, cause.rule
    returned = isinstance(cause.event, FunctionReturned)
    fires = rule is not None and not returned
    # what functions ask for while the run drains could go on for ever
    if state.draining and (returned or given_up(state)):
        return [Note("draining", f"{action.label} is not called: the run is ending")]
    line = rule.id if rule is not None else ""
    own = None if fires else to_builtins(action)
    free = room(state, line, rule.action.concurrency if rule is not None else 1) - context.calls.get(line, 0)
    if free <= 0 or (line in state.lines and state.lines[line].waiting):
        return [CallWaits(action.label, line, cause.key, own)]
    context.calls[line] = context.calls.get(line, 0) + 1
    return [Call(context.command(), action.label, line, key=cause.key, action=own)]


register_action(
    Action(
        name="custom",
        meaning="Call the Python function `label` of `custom`; it returns nothing, an action, a rule, or several.",
        keys=("label", "value", "parameters", "states", "member", "host", "options", "concurrency", "on_error"),
        while_draining=True,
        open_ended=True,
        check=_check,
        effects=_custom,
    )
)
