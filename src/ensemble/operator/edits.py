"""What an edit of an Ensemble means for a run that has begun: requests to the run, or the reason why it is refused.

The webhook refuses with the same reasons what the service pod could not carry out, so both call `edits`.
"""

from __future__ import annotations

__all__ = ["Edit", "edits"]

from typing import Any, NamedTuple

from msgspec import to_builtins
from msgspec.structs import replace

from ensemble.model.events import Requested
from ensemble.operator.conversion import Converted
from ensemble.spec.model import AlgorithmSpec, EnsembleSpec, MemberSpec, RuleSpec

_FREE = ("suspend", "ttl", "check_seconds")
"""Keys of `spec` that are about the object and not about the run."""


class Edit(NamedTuple):
    """Requests in the order in which they are made, and what cannot be done, each with its path in the object."""

    requests: tuple[Requested, ...] = ()
    refused: tuple[str, ...] = ()


def edits(before: Converted, after: Converted, by: str = "spec") -> Edit:
    """What turns a run of `before` into one of `after`."""
    old, new = before.ensemble, after.ensemble
    requests: list[Requested] = []
    refused = list(_fixed(before, after))
    refused += (
        f"spec.members: member {name} cannot be added or removed while the ensemble runs"
        for name in sorted(old.members.keys() ^ new.members.keys())
    )
    for name in [name for name in old.members if name in new.members]:
        one, other = old.members[name], new.members[name]
        if one.nodes != other.nodes:
            requests.append(_action(by, name="scale", member=name, value=other.nodes))
        if _still(one) != _still(other):
            refused.append(f"spec.members: only `size` of member {name} can be changed while the ensemble runs")
    requests_of_rules, refused_rules = _rules(old, new, by)
    requests += requests_of_rules
    refused += refused_rules
    if old.algorithm != new.algorithm:
        if new.algorithm is None:
            refused.append("spec.algorithm: an algorithm can be replaced by another and not taken away")
        elif not _checked_only(old.algorithm, new.algorithm):
            requests.append(
                _action(by, name="switch-algorithm", label=new.algorithm.name, options=dict(new.algorithm.options))
            )
    return Edit(tuple(requests), tuple(refused))


def _fixed(before: Converted, after: Converted) -> list[str]:
    """What a run keeps from its beginning to its end."""
    found = []
    for key, text in (
        ("jobs", "the groups of jobs are fixed while the ensemble runs; a rule may submit more jobs of a group"),
        ("limits", "limits are fixed while the ensemble runs"),
        ("custom", "custom functions are fixed while the ensemble runs"),
        ("seed", "the seed is fixed while the ensemble runs"),
    ):
        if getattr(before.ensemble, key) != getattr(after.ensemble, key):
            found.append(f"spec.{key}: {text}; write another Ensemble")
    if before.spec.service != after.spec.service:
        found.append("spec.service: the service pod is fixed while the ensemble runs; write another Ensemble")
    return found


def _still(member: MemberSpec) -> MemberSpec:
    """A member without what may change."""
    return replace(member, nodes=1)


def _checked_only(old: AlgorithmSpec | None, new: AlgorithmSpec) -> bool:
    """Whether nothing differs but how often an algorithm looks, which `checkSeconds` of the object says."""
    if old is None or old.name != new.name:
        return False

    def rest(algorithm: AlgorithmSpec) -> dict[str, Any]:
        return {key: value for key, value in algorithm.options.items() if key != "checkSeconds"}

    return rest(old) == rest(new)


def _rules(old: EnsembleSpec, new: EnsembleSpec, by: str) -> tuple[list[Requested], list[str]]:
    """Rules after the last one are added; those that a run has stay as they are."""
    if new.rules[: len(old.rules)] != old.rules:
        first = next(
            (n for n, (one, other) in enumerate(zip(old.rules, new.rules, strict=False)) if one != other),
            len(new.rules),
        )
        return [], [
            f"spec.rules[{first}]: rules that the run has stay as they are; rules can be added after the last one"
        ]
    return [Requested("add-rule", by, action=_plain(rule)) for rule in new.rules[len(old.rules) :]], []


def _plain(rule: RuleSpec) -> dict[str, Any]:
    plain: dict[str, Any] = to_builtins(rule)
    return plain


def _action(by: str, **action: Any) -> Requested:
    return Requested("action", by, action=action)
