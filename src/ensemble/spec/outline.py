"""The names in an ensemble, looked up once: a file may have thousands of groups, and as many rules that name them."""

from __future__ import annotations

__all__ = ["Outline"]

from functools import cached_property
from typing import Literal

from ensemble.spec.model import EnsembleSpec, GroupSpec


class Outline:
    """What a file names: groups with their entries, members, axes and figures."""

    def __init__(self, spec: EnsembleSpec) -> None:
        self.spec = spec
        self.groups: dict[str, list[GroupSpec]] = {}
        """The entries of each group, in file order."""
        for group in spec.jobs:
            self.groups.setdefault(group.name, []).append(group)
        self._own: dict[tuple[str, str], list[str]] = {}

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(self.spec.members) or ("local",)

    @cached_property
    def axes(self) -> dict[str, None]:
        """Every axis of any group, in file order."""
        return dict.fromkeys(axis for group in self.spec.jobs for axis in group.axes)

    @cached_property
    def figures(self) -> list[str]:
        """Every figure of any group."""
        return sorted({name for group in self.spec.jobs for name in group.outputs})

    def own(self, group: str, what: Literal["outputs", "derived", "axes"]) -> list[str]:
        """What the entries of one group have of these, sorted."""
        found = self._own.get((group, what))
        if found is None:
            names = {name for entry in self.groups.get(group, ()) for name in getattr(entry, what)}
            found = self._own[group, what] = sorted(names)
        return found
