"""Why a rule fired or did not: what it waits for, the present values, and how far it has come."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ensemble.engine.build import Builder
from ensemble.engine.rules import Reader, Rule
from ensemble.engine.state import State
from ensemble.model.wording import counted
from ensemble.spec.actions import traits
from ensemble.spec.expressions import MetricPath, parse_condition, render
from ensemble.spec.expressions import explain as comparisons
from ensemble.spec.model import UNLIMITED


class Part(Struct, frozen=True):
    """One comparison of a condition: its text with the values it read, and whether it holds (None: unknown)."""

    text: str
    holds: bool | None


class RuleExplanation(Struct, frozen=True):
    """A rule as it stands. `waits_for` says what it waits for, or why it will not fire; `left` -1 is unlimited."""

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
        _waits_for(state, rule, found, condition),
        tuple(found),
    )


def _action(rule: Rule) -> str:
    action = rule.action
    value = f" {action.value:g}" if action.value is not None else ""
    label = f" {action.label or action.member or action.host}".rstrip()
    return f"{action.name}{value}{label}"


_JOB: Final = {
    "depend": "be waiting for what it depends on",
    "sched": "be ready for scheduling",
    "run": "start",
    "cancel": "be cancelled",
    "cleanup": "clean up",
    "finish": "end",
    "success": "succeed",
    "fail": "fail for good",
    "retry": "be tried again",
}


def _waits_for(state: State, rule: Rule, found: list[Part], condition: str) -> str:
    if rule.removed:
        return "will not fire again: its algorithm was replaced by another"
    if rule.exhausted:
        return f"will not fire again: it has fired {times(rule.fired)}, which is all that `repetitions` allows"
    if rule.id in state.refused:
        return f"will not fire: it matched while the run was ending ({state.limit or state.draining})"
    if state.ended is None and state.draining and not traits(rule.action).while_draining:
        return f"will not fire: the run is ending ({state.limit or state.draining})"
    if rule.trigger == "start" and rule.fired:
        return "will not fire again: a run starts only once"
    verb = "the run is over; it was waiting for " if state.ended is not None else "waits for "
    if rule.open:
        return verb + "its last action to end"
    if rule.until:
        return verb + f"its cooldown to end in {max(0.0, rule.until - state.now):.1f} s"
    what = _condition(found, condition) if rule.trigger == "metric" else _trigger(state, rule)
    if condition and rule.trigger != "metric":
        what += f" while {condition}"
    return verb + what + _left(state, rule)


def _left(state: State, rule: Rule) -> str:
    parts = []
    if rule.left != UNLIMITED and rule.fired:
        parts.append("can fire once more" if rule.left == 1 else f"can fire {rule.left} more times")
    elif rule.left != UNLIMITED:
        parts.append("can fire once" if rule.left == 1 else f"can fire up to {rule.left} times")
    line = state.lines.get(rule.id)
    if line is not None:
        parts.append(f"{counted(len(line.under_way), 'call')} under way, {len(line.waiting)} waiting")
    if rule.skip:
        parts.append(f"skips {rule.skip} more {'match' if rule.skip == 1 else 'matches'} first")
    return f" ({', '.join(parts)})" if parts else ""


def times(count: int) -> str:
    """How often, in words: `once`, `twice`, `3,000 times`."""
    return "once" if count == 1 else "twice" if count == 2 else f"{count:,} times"


def _condition(found: list[Part], condition: str) -> str:
    missing = [part.text for part in found if part.holds is not True]
    if " or " in condition or "not " in condition:
        # no single part is to blame
        return f"{condition}, of which now {', '.join(_state(part) for part in found)}"
    return " and ".join(missing) if missing else "a value that its condition reads to change"


def _state(part: Part) -> str:
    word = {True: "holds", False: "does not hold", None: "is unknown"}[part.holds]
    return f"{part.text} {word}"


def _trigger(state: State, rule: Rule) -> str:
    trigger, name = rule.trigger, rule.spec.name
    if trigger == "start":
        return "the start"
    if trigger == "idle":
        return "the run to have nothing left to do"
    if trigger == "interval":
        return f"its next interval in {max(0.0, rule.interval_at - state.now):.1f} s"
    job = f"a job of {name}" if name else "a job"
    value = ",".join(f"{axis}={one}" for axis, one in rule.binding.items())
    job += f" with {value}" if value else ""
    if trigger.startswith("job-native-"):
        return f"the queue to report {trigger.removeprefix('job-native-')!r} of {job}"
    if trigger.startswith("job-"):
        return f"{job} to {_JOB.get(trigger.removeprefix('job-'), trigger)}"
    return f"{f'member {name}' if name else 'any member'} to report {trigger.removeprefix('member-')!r}"
