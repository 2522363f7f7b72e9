"""What a saved run is called: a tag and annotations made from the run itself, so that no part can be forgotten."""

from __future__ import annotations

__all__ = ["PREFIX", "Facts", "facts_of"]

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from ensemble.engine import Status
from ensemble.model.jobs import Scalar
from ensemble.spec.model import EnsembleSpec

PREFIX: Final = "org.flux-framework.ensemble."
"""Of the annotations that are ours."""

MOST_TAG: Final = 128
_MOST_PART: Final = 36
_MOST_LISTED: Final = 4


class Facts(Struct, frozen=True):
    """What tells one saved run from another, in the order in which the tag has it.

    `study` is the name of the ensemble, `cells` what its groups are, `size` the tasks and nodes of its jobs and
    the values of its parameters, `environment` where it ran and `iteration` which of the runs of that study it is.
    """

    study: str
    cells: str
    size: str
    environment: str
    iteration: str

    def tag(self, digest: str) -> str:
        """A tag that no other run has: it ends with the beginning of the artifact's digest."""
        end = digest.partition(":")[2][:12]
        parts = [self.study, self.cells, self.size, self.environment, self.iteration]
        words = "-".join(filter(None, (_slug(part)[:_MOST_PART].strip("-.") for part in parts)))
        return f"{words[: MOST_TAG - len(end) - 1]}-{end}"

    def annotations(self) -> dict[str, str]:
        """The same, each under its own name."""
        return {f"{PREFIX}{name}": value for name in self.__struct_fields__ if (value := getattr(self, name))}


def facts_of(run: str, spec: EnsembleSpec, status: Status, environment: str = "") -> Facts:
    """The facts of a run. `environment` names where it ran, if its kinds of members do not say enough."""
    sizes: dict[str, set[Scalar]] = {"t": set(), "n": set()}
    for group in spec.jobs:
        for axis in group.axes:
            sizes.setdefault(axis, set()).update(point[axis] for point in group.points)
        # a count that an axis gives is named by the axis
        sizes["t"].update([group.tasks] if isinstance(group.tasks, int) else [])
        sizes["n"].update([group.nodes] if isinstance(group.nodes, int) and group.nodes else [])
    number = run.rpartition("-")[2]
    return Facts(
        study=spec.name,
        cells=_joined(dict.fromkeys(group.label or group.name for group in spec.jobs)),
        size="-".join(f"{name}{_listed(values)}" for name, values in sizes.items() if values),
        environment=environment or ".".join(sorted({member.kind for member in status.members})),
        iteration=f"i{number}" if number.isdigit() else "",
    )


def _listed(values: Iterable[Scalar]) -> str:
    """Values in order, or of many the first and the last."""
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    if len(ordered) > _MOST_LISTED:
        return f"{ordered[0]}-{ordered[-1]}"
    return ".".join(map(str, ordered))


def _joined(names: Iterable[str]) -> str:
    ordered = list(names)
    more = len(ordered) - _MOST_LISTED
    return "+".join(ordered[:_MOST_LISTED]) + (f"+{more}-more" if more > 0 else "")


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")
