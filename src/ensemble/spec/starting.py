"""Which groups start by themselves."""

from __future__ import annotations

from ensemble.model.errors import ExpressionError
from ensemble.spec.actions import traits
from ensemble.spec.expressions import parse_condition, paths, resolve_old
from ensemble.spec.model import EACH_POINT, EnsembleSpec, RuleSpec


def groups_that_start(spec: EnsembleSpec) -> tuple[str, ...]:
    """Names of the groups whose jobs are submitted when the run starts, in file order.

    `submit: start` and `submit: rules` say so. `auto` (the default) means: at the start, unless the file
    already says when it is submitted. That is so when an algorithm is named, when a `start` rule submits
    or calls something, or when a rule that waits for anything but the group itself submits it.
    """
    names = tuple(dict.fromkeys(group.name for group in spec.jobs))
    modes = {name: [group.submit for group in spec.jobs if group.name == name] for name in names}
    by_rules = spec.algorithm is not None or any(
        rule.trigger == "start" and rule.action.name in ("submit", "custom", "switch-algorithm") for rule in spec.rules
    )
    started = []
    for name in names:
        if "start" in modes[name]:
            started.append(name)
        elif "rules" in modes[name] or by_rules:
            continue
        elif not any(_submits_from_outside(rule, name, names) for rule in spec.rules):
            started.append(name)
    return tuple(started)


def axes_of(rule: RuleSpec, spec: EnsembleSpec) -> tuple[str, ...]:
    """The axes of a `for_each` rule; for `point`, those of the group that it waits for, else that its action names."""
    if isinstance(rule.for_each, tuple):
        return rule.for_each
    if rule.for_each != EACH_POINT or any(EACH_POINT in group.axes for group in spec.jobs):
        return (rule.for_each,) if rule.for_each else ()
    names = tuple(dict.fromkeys(group.name for group in spec.jobs))
    groups = rule_sources(rule, names) - {"*", ""} or {rule.action.label}
    return tuple(dict.fromkeys(axis for group in spec.jobs if group.name in groups for axis in group.axes))


def _submits_from_outside(rule: RuleSpec, name: str, names: tuple[str, ...]) -> bool:
    if not traits(rule.action).submits or rule.action.label != name:
        return False
    return rule_sources(rule, names) != {name}


def rule_sources(rule: RuleSpec, names: tuple[str, ...]) -> set[str]:
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
