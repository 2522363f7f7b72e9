"""What was decided, in words: one phrase for each effect."""

from __future__ import annotations

__all__ = ["consequences", "phrase", "values"]

from collections.abc import Iterable, Mapping

from ensemble.model.decisions import (
    AddRule,
    Avoid,
    Call,
    CallWaits,
    Cancel,
    Change,
    Create,
    Discard,
    Drain,
    Effect,
    Note,
    Resize,
    StopMember,
    SwitchAlgorithm,
)
from ensemble.model.wording import counted


def values(why: Mapping[str, float | None]) -> str:
    """The values that a condition read: `mean.melt.p = 4.5, count.melt.active = 0`."""
    return ", ".join(f"{name} = {'unknown' if value is None else f'{value:.6g}'}" for name, value in why.items())


def consequences(effects: Iterable[Effect]) -> str:
    """What a rule's firing led to: `2 jobs of melt; local is to have 4 nodes`. Empty when nothing."""
    effects = tuple(effects)
    created: dict[str, int] = {}
    cancelled = 0
    phrases: list[str] = []
    for effect in effects:
        if isinstance(effect, Create):
            created[effect.span.group] = created.get(effect.span.group, 0) + effect.span.count
        elif isinstance(effect, Cancel):
            cancelled += len(effect.refs)
        else:
            phrases.append(phrase(effect))
    if cancelled:
        phrases.insert(0, f"{counted(cancelled, 'job')} cancelled")
    phrases[:0] = [f"{counted(count, 'job')} of {group}" for group, count in created.items()]
    return "; ".join(filter(None, phrases))


def phrase(effect: Effect) -> str:
    """What one effect other than jobs that are created or cancelled does; empty for what interests nobody."""
    match effect:
        case Resize(member=member, nodes=nodes):
            return f"{member} is to have {counted(nodes, 'node')}"
        case Call(function=function):
            return f"{function} is called"
        case CallWaits(function=function):
            return f"{function} will be called after the calls before it"
        case StopMember(member=member):
            return f"{member} gets no more jobs"
        case Discard(group=group, outcome=outcome):
            return f"the waiting jobs of {group} count as {outcome}"
        case AddRule(id=rule):
            return f"rule {rule} is added"
        case Change():
            return _changed(effect)
        case SwitchAlgorithm(name=name):
            return f"algorithm {name} takes over"
        case Avoid(hosts=hosts):
            return f"no more jobs on {', '.join(hosts)}"
        case Drain(reason="terminate"):
            return "all jobs are cancelled"
        case Drain():
            return "no more jobs start"
        case Note(text=text):
            return text
    return ""


def _changed(change: Change) -> str:
    """What a changed file brought, but for rules that came, which are effects of their own."""
    parts = []
    if change.limits is not None:
        limits = ", ".join(f"{name} {value}" for name, value in change.limits.items())
        parts.append(f"limits are now {limits}" if limits else "there are no limits any more")
    parts += (f"rule {rule} is removed" for rule in change.removed)
    parts += (
        f"the size of {size.member} is {size.nodes} ({size.min_nodes} to {size.max_nodes})" for size in change.sizes
    )
    return "; ".join(parts)
