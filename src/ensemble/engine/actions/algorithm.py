"""The actions `switch-algorithm`, and `algorithm`, which the rules of a packaged algorithm use."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec import to_builtins

from ensemble.engine.actions.context import Action, Cause, Context, perform
from ensemble.engine.view import StateView
from ensemble.model.decisions import AddRule, Effect, Note, Remember, SwitchAlgorithm
from ensemble.model.errors import InputError
from ensemble.spec.actions import ActionCheck, register_action
from ensemble.spec.model import ActionSpec


def _check(check: ActionCheck, action: ActionSpec) -> None:
    if action.label:
        check.algorithm(action)
    else:
        check.complain("switch-algorithm needs the algorithm in `label`")


def switch(context: Context, name: str, options: dict[str, Any]) -> list[Effect]:
    """Leave the present algorithm, if there is one, for another."""
    builder = context.builder
    algorithm = builder.plan.algorithms.get(name)
    if algorithm is None:
        return [Note("unknown-algorithm", f"there is no algorithm {name!r}")]
    try:
        checked = algorithm.validate(options)
        rules = algorithm.rules(checked, StateView(context.state, builder))
    except InputError as error:
        return [Note("bad-options", f"algorithm {name}: {error}")]
    effects: list[Effect] = [SwitchAlgorithm(name, checked)]
    turn = context.state.switches + 1
    for index, rule in enumerate(rules, 1):
        suffix = f"-{turn}" if turn > 1 else ""
        effects.append(AddRule(f"{name}{suffix}.{rule.id or index}", to_builtins(rule), f"algorithm:{name}"))
    return effects


def _switch(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    return switch(context, action.label, action.options)


def _act(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    """Ask the present algorithm what to do, and do it."""
    state = context.state
    algorithm = context.builder.plan.algorithms.get(state.algorithm)
    if algorithm is None:
        return [Note("unknown-algorithm", f"there is no algorithm {state.algorithm!r}")]
    memory = state.memory.get("algorithm", {})
    view = StateView(state, context.builder)
    outcome = algorithm.act(action.label, context.state.algorithm_options, memory, view, cause.random or Random(0))
    effects: list[Effect] = []
    if outcome.memory is not None and outcome.memory != memory:
        effects.append(Remember("algorithm", outcome.memory))
    for step in outcome.actions:
        effects += perform(context, step, Cause(cause.event, cause.rule))
    return effects


register_action(
    Action(
        name="switch-algorithm",
        meaning="Leave the present algorithm for the one named by `label`, with `options`.",
        keys=("label", "options"),
        open_ended=True,
        check=_check,
        effects=_switch,
    )
)
register_action(
    Action(
        name="algorithm",
        meaning="Ask the present algorithm what to do.",
        keys=("label",),
        in_file=False,
        open_ended=True,
        effects=_act,
    )
)
