"""Cells: which choices of an application, a base, an MPI and a fabric fit together, by what each needs and provides."""

from __future__ import annotations

__all__ = ["Cell", "fitting", "unmet"]

from itertools import product
from typing import Literal, NamedTuple

from msgspec import Struct

from ensemble.studies.recipes.model import Application, Base, Fabric, Mpi, Part, Variant

NO_FABRIC = "none"
"""The fabric of a cell whose name has none."""

Reach = Literal["packages", "internet"]


class Step(NamedTuple):
    """A part of a cell and the way in which it is installed."""

    part: Part
    variant: Variant


class Cell(Struct, frozen=True):
    """A choice of parts that fit together, each with the way in which it is installed."""

    application: Application
    base: Base
    mpi: Mpi
    fabric: Fabric
    variants: tuple[Variant, Variant, Variant, Variant]
    """Those of base, fabric, MPI and application."""

    @property
    def name(self) -> str:
        """`APP/BASE/MPI`, and `/FABRIC` where there is one."""
        words = [self.application.name, self.base.name, self.mpi.name]
        return "/".join(words if self.fabric.name == NO_FABRIC else [*words, self.fabric.name])

    @property
    def steps(self) -> tuple[Step, ...]:
        """The parts in the order in which they are installed."""
        parts = (self.base, self.fabric, self.mpi, self.application)
        return tuple(Step(part, variant) for part, variant in zip(parts, self.variants, strict=True))

    @property
    def needs(self) -> frozenset[str]:
        """Everything that a part of it needs."""
        return frozenset(word for part, variant in self.steps for word in (*part.needs, *variant.needs))

    @property
    def reach(self) -> Reach:
        """Whether package registries suffice to build it, or other servers of the internet are needed."""
        outside = not self.base.suite or any(one.downloads or one.clones for one in self.variants)
        return "internet" if outside else "packages"

    @property
    def unpinned(self) -> list[str]:
        """What a build would fetch without knowing what it gets; empty when all is pinned.

        Packages of a distribution are not among it: the distribution signs them, and the image lists their versions.
        """
        found = [] if self.base.digest else [f"the image {self.base.image} has no digest"]
        for part, variant in self.steps:
            found += [f"{part.name}: {one.url} has no sha256" for one in variant.downloads.values() if not one.sha256]
            found += [f"{part.name}: {one.url} has no commit" for one in variant.clones.values() if not one.commit]
            packages = [name for name, one in variant.python.items() if not one.sha256]
            found += [f"{part.name}: {name} from PyPI has no sha256" for name in packages]
        return found


def fitting(application: Application, base: Base, mpi: Mpi, fabric: Fabric) -> Cell | None:
    """The cell of these parts, or nothing where they do not fit together.

    Of several ways to install the parts the first that fit together are taken.
    """
    parts: tuple[Part, ...] = (base, fabric, mpi, application)
    for variants in product(*(part.variants for part in parts)):
        if not _missing(parts, variants):
            return Cell(application, base, mpi, fabric, variants)  # type: ignore[arg-type]
    return None


def unmet(application: Application, base: Base, mpi: Mpi, fabric: Fabric) -> list[str]:
    """Why these parts do not fit together: one sentence for each part that lacks something, for the nearest choice."""
    parts: tuple[Part, ...] = (base, fabric, mpi, application)
    choices = [_missing(parts, variants) for variants in product(*(part.variants for part in parts))]
    nearest = min(choices, key=lambda missing: sum(map(len, missing.values())))
    return [f"{part} needs {' and '.join(words)}, which no other part provides" for part, words in nearest.items()]


def _missing(parts: tuple[Part, ...], variants: tuple[Variant, ...]) -> dict[str, list[str]]:
    """By part: what it needs and no part provides."""
    chosen = list(zip(parts, variants, strict=True))
    provided = {word for part, variant in chosen for word in (*part.provides, *variant.provides)}
    found = {}
    for part, variant in chosen:
        if words := [word for word in (*part.needs, *variant.needs) if word not in provided]:
            found[part.name] = words
    return found
