"""Why a rule fired or did not: what it waits for, the present values, and how far it has come."""

from __future__ import annotations

from msgspec import Struct

from ensemble.engine.build import Builder
from ensemble.engine.rules import Reader, Rule
from ensemble.engine.state import State
from ensemble.spec.expressions import MetricPath, parse_condition, render
from ensemble.spec.expressions import explain as comparisons
from ensemble.spec.model import UNLIMITED


class Part(Struct, frozen=True):
    """One comparison of a condition: its text with the values it read, and whether it holds (None: unknown)."""

    text: str
    holds: bool | None


class RuleExplanation(Struct, frozen=True):
    """A rule as it stands. `waits_for` is a sentence; `left` -1 is unlimited."""

    id: str
    trigger: str
    condition: str
    action: str
    fired: int
    left: int
    waits_for: str
    parts: tuple[Part, ...]


def explain(state: State, builder: Builder, rule_id: str = "") -> list[RuleExplanation]:
    """Explain one rule (or, for a `for_each` rule, its instances), or all of them in file order."""
    return [
        _one(state, builder, rule)
        for rule in state.rules.values()
        if not rule_id or rule.id == rule_id or rule.id.startswith(rule_id + "[")
    ]


def _one(state: State, builder: Builder, rule: Rule) -> RuleExplanation:
    condition = ""
    found: list[Part] = []
    if rule.condition is not None:
        expr = parse_condition(rule.spec.name if rule.trigger == "metric" else "", rule.spec.when)
        condition = render(expr)

        def read(path: MetricPath) -> Reader:
            return builder.resolver.value(path, rule.binding)[1]

        found = [Part(text, None if holds is None else bool(holds)) for text, holds in comparisons(expr, read)]
    return RuleExplanation(
        rule.id,
        rule.trigger + (f" {rule.spec.name}" if rule.spec.name and rule.trigger != "metric" else ""),
        condition,
        _action(rule),
        rule.fired,
        rule.left,
        _waits_for(state, rule, found),
        tuple(found),
    )


def _action(rule: Rule) -> str:
    action = rule.action
    value = f" {action.value:g}" if action.value is not None else ""
    label = f" {action.label or action.member or action.host}".rstrip()
    return f"{action.name}{value}{label}"


def _waits_for(state: State, rule: Rule, found: list[Part]) -> str:
    if rule.removed:
        return "nothing: its algorithm was switched off"
    if rule.exhausted:
        return f"nothing: it fired {rule.fired} of {rule.fired} times"
    if state.ended is not None:
        prefix = "nothing any more, the ensemble is over; it was waiting for "
    else:
        prefix = ""
    if rule.open:
        return prefix + "its last action to end"
    if rule.until:
        return prefix + f"its cooldown to end in {max(0.0, rule.until - state.now):.1f} s"
    left = "" if rule.left == UNLIMITED else f" ({rule.left} more times)"
    if rule.skip:
        left += f", {rule.skip} matches are to be skipped first"
    if rule.trigger != "metric":
        return prefix + f"{rule.trigger} {rule.spec.name}".rstrip() + left
    missing = [part.text for part in found if part.holds is not True]
    return prefix + (" and ".join(missing) if missing else "a value that its condition reads to change") + left
