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
from ensemble.spec.changes import file_changes, not_followed
from ensemble.spec.model import AlgorithmSpec, EnsembleSpec


class Edit(NamedTuple):
    """Requests in the order in which they are made, and what cannot be done, each with its path in the object."""

    requests: tuple[Requested, ...] = ()
    refused: tuple[str, ...] = ()


def edits(before: Converted, after: Converted, by: str = "spec") -> Edit:
    """What turns a run of `before` into one of `after`: limits, rules, sizes and the algorithm may be others."""
    old = replace(before.ensemble, algorithm=None)
    new = replace(after.ensemble, algorithm=None)
    refused = [_refusal(path) for path in not_followed(old, new)]
    if before.spec.service != after.spec.service:
        refused.append(_refusal("service"))
    requests, refused_algorithm = _algorithm(before.ensemble.algorithm, after.ensemble.algorithm, by)
    refused += refused_algorithm
    if not refused and _followed(old) != _followed(new):
        requests.insert(0, Requested("change", by, action=to_builtins(file_changes(old, new))))
    return Edit(tuple(requests) if not refused else (), tuple(refused))


def _refusal(path: str) -> str:
    key, _, member = path.partition(".")
    what = f"only the sizes of member {member}" if member else "limits, rules, sizes of members and the algorithm"
    return f"spec.{key}: {what} can be changed while the ensemble runs; write another Ensemble"


def _followed(spec: EnsembleSpec) -> tuple[Any, ...]:
    """All that a run follows."""
    return spec.limits, spec.rules, spec.members


def _algorithm(old: AlgorithmSpec | None, new: AlgorithmSpec | None, by: str) -> tuple[list[Requested], list[str]]:
    if old == new or (old is not None and new is not None and _checked(old) == _checked(new)):
        return [], []
    if new is None:
        return [], ["spec.algorithm: an algorithm can be replaced by another and not taken away"]
    action = {"name": "switch-algorithm", "label": new.name, "options": dict(new.options)}
    return [Requested("action", by, action=action)], []


def _checked(algorithm: AlgorithmSpec) -> tuple[str, dict[str, Any]]:
    """An algorithm without how often it looks, which `checkSeconds` of the object says."""
    return algorithm.name, {key: value for key, value in algorithm.options.items() if key != "checkSeconds"}
