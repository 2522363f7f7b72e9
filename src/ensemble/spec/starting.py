"""Which groups start by themselves, and which axes a rule is bound to."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from ensemble.model.errors import ExpressionError
from ensemble.spec.actions import find_action, traits
from ensemble.spec.expressions import parse_condition, paths, resolve_old
from ensemble.spec.model import EACH_POINT, ActionSpec, EnsembleSpec, RuleSpec
from ensemble.spec.outline import Outline


def groups_that_start(spec: EnsembleSpec) -> tuple[str, ...]:
    """Names of the groups whose jobs are submitted when the run starts, in file order.

    `submit: start` and `submit: rules` say so. `auto` (the default) means: at the start, unless the file already says
    who submits it. That is so when an algorithm is named, or when a rule that waits for anything but the group itself
    submits it. A function may submit any group, and changes nothing about what starts.
    """
    groups = Outline(spec).groups
    modes = {name: [entry.submit for entry in entries] for name, entries in groups.items()}
    submitting: dict[str, list[RuleSpec]] = {}
    for rule in spec.rules:
        for label in _submitted(rule.action):
            submitting.setdefault(label, []).append(rule)
    by_algorithm = spec.algorithm is not None or any(
        rule.trigger == "start" and rule.action.name == "switch-algorithm" for rule in spec.rules
    )
    started = []
    for name in groups:
        if "start" in modes[name]:
            started.append(name)
        elif "rules" in modes[name] or by_algorithm:
            continue
        elif all(rule_sources(rule, groups) == {name} for rule in submitting.get(name, ())):
            started.append(name)
    return tuple(started)


def _submitted(action: ActionSpec) -> Iterator[str]:
    """The groups that an action submits, or that a rule which it adds does."""
    if traits(action).submits:
        yield action.label
    added = (action.rule or {}).get("action")
    while isinstance(added, dict):
        known = find_action(str(added.get("name", "")))
        if known is not None and known.submits:
            yield str(added.get("label", ""))
        added = (added.get("rule") or {}).get("action")


class Start(NamedTuple):
    """Whether the jobs of a group are submitted when the run starts, and why."""

    group: str
    by_itself: bool
    reason: str


def starts(spec: EnsembleSpec) -> list[Start]:
    """Say of each group, in file order, whether it starts by itself and why."""
    started = frozenset(groups_that_start(spec))
    submitting: dict[str, list[str]] = {}
    for number, rule in enumerate(spec.rules, 1):
        for label in _submitted(rule.action):
            submitting.setdefault(label, []).append(rule.id or f"rule-{number}")
    found = []
    for name, entries in Outline(spec).groups.items():
        rules = submitting.get(name, [])
        shown = ", ".join(rules[:3]) + (", ..." if len(rules) > 3 else "")
        if name in started:
            said = any(entry.submit == "start" for entry in entries)
            reason = "it says `submit: start`" if said else "no rule submits it"
            if rules and not said:
                reason = f"only its own jobs set off {shown}"
        elif rules:
            reason = f"{shown} {'submit' if len(rules) > 1 else 'submits'} it"
        elif any(entry.submit == "rules" for entry in entries):
            reason = "it says `submit: rules`"
        else:
            reason = f"the algorithm {spec.algorithm.name if spec.algorithm else 'of a start rule'} submits it"
        found.append(Start(name, name in started, reason))
    return found


def axes_of(rule: RuleSpec, outline: Outline) -> tuple[str, ...]:
    """The axes of a `for_each` rule; for `point`, those of the group that it waits for, else that its action names."""
    if isinstance(rule.for_each, tuple):
        return rule.for_each
    if rule.for_each != EACH_POINT or EACH_POINT in outline.axes:
        return (rule.for_each,) if rule.for_each else ()
    sources = rule_sources(rule, outline.groups) - {"*", ""} or {rule.action.label}
    entries = [entry for name in sorted(sources) for entry in outline.groups.get(name, ())]
    return tuple(dict.fromkeys(axis for entry in entries for axis in entry.axes))


def rule_sources(rule: RuleSpec, names: Collection[str]) -> set[str]:
    """The groups whose events or metrics a rule waits for; `*` for any, empty for none (start, interval, idle)."""
    if rule.trigger.startswith("job-"):
        return {rule.name or "*"}
    if rule.trigger != "metric":
        return set()
    try:
        found = paths(parse_condition(rule.name, rule.when))
    except ExpressionError:
        return set()
    return {resolve_old(path, names).group for path in found}
