"""All recipes there are: ours, those of other packages, and those of a directory."""

from __future__ import annotations

__all__ = ["ENTRY_POINTS", "OWN_FILE", "Catalogue", "catalogue"]

from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ensemble.model.errors import InputError
from ensemble.spec.convert import nearest
from ensemble.studies.recipes.cells import NO_FABRIC, Cell, fitting, unmet
from ensemble.studies.recipes.model import Application, Base, Fabric, Mpi, Platform
from ensemble.studies.recipes.reader import read_recipes

ENTRY_POINTS: Final = "ensemble.recipes"
"""The group of entry points by which a package adds recipes: each names a package whose YAML files are read."""

OWN_FILE: Final = "recipes.yaml"
"""The file of a person's own recipes, beside the ensemble file."""

_OURS: Final = Path(__file__).parent / "data"


class Catalogue(Struct, frozen=True):
    """Bases, fabrics, MPIs, applications and platforms by name."""

    bases: Mapping[str, Base]
    fabrics: Mapping[str, Fabric]
    mpis: Mapping[str, Mpi]
    applications: Mapping[str, Application]
    platforms: Mapping[str, Platform]

    def cells(self) -> Iterator[Cell]:
        """Every cell that can exist, in the order of the recipes."""
        for application in self.applications.values():
            for base in self.bases.values():
                for mpi in self.mpis.values():
                    for fabric in self.fabrics.values():
                        if (cell := fitting(application, base, mpi, fabric)) is not None:
                            yield cell

    def cell(self, name: str) -> Cell:
        """The cell `APP/BASE/MPI[/FABRIC]`.

        Raises `InputError` naming the nearest part where one is unknown, or what is needed where they do not fit.
        """
        words = name.split("/")
        if len(words) not in (3, 4):
            raise InputError(f"{name!r} is not the name of a cell, which is APP/BASE/MPI or APP/BASE/MPI/FABRIC")
        parts = (
            _one(self.applications, words[0], "application"),
            _one(self.bases, words[1], "base"),
            _one(self.mpis, words[2], "MPI"),
            _one(self.fabrics, words[3] if len(words) == 4 else NO_FABRIC, "fabric"),
        )
        cell = fitting(*parts)
        if cell is None:
            raise InputError(f"there is no cell {name}: {'; '.join(unmet(*parts))}")
        return cell

    def platforms_of(self, cell: Cell) -> list[str]:
        """The platforms that a cell is for."""
        return [name for name, platform in self.platforms.items() if _admits(platform, cell)]


def catalogue(directory: str | Path = ".", files: Iterable[str | Path] = ()) -> Catalogue:
    """Read every recipe: ours, those of installed packages, `recipes.yaml` in a directory, and other files.

    Raises `SpecError` for a recipe that says something impossible, and `InputError` where two have one name.
    """
    own = Path(directory) / OWN_FILE
    paths = [*sorted(_OURS.glob("*.yaml")), *_of_packages(), *([own] if own.is_file() else []), *map(Path, files)]
    found: dict[str, dict[str, Any]] = {kind: {} for kind in Catalogue.__struct_fields__}
    for path in paths:
        recipes = read_recipes(path)
        for kind, parts in found.items():
            _add(parts, getattr(recipes, kind), path)
    everything = Catalogue(**found)
    _check_platforms(everything)
    return everything


def _of_packages() -> Iterator[Path]:
    """The recipe files of other packages."""
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda one: one.name):
        try:
            package = import_module(entry.value)
        except Exception as error:
            raise InputError(f"the recipes {entry.name!r} of another package do not load: {error}") from error
        for folder in package.__path__:
            yield from sorted(Path(folder).glob("*.yaml"))


def _add(parts: dict[str, Any], more: Mapping[str, Any], path: Path) -> None:
    for name, part in more.items():
        if name in parts:
            raise InputError(
                f"{path}: there is a recipe {name!r} already, in {getattr(parts[name], 'file', 'another')}"
            )
        parts[name] = part


def _check_platforms(everything: Catalogue) -> None:
    for name, platform in everything.platforms.items():
        for kind in ("bases", "fabrics", "mpis"):
            for word in getattr(platform, kind):
                if word not in getattr(everything, kind):
                    hint = nearest(word, sorted(getattr(everything, kind)))
                    raise InputError(f"the platform {name} names {word!r}, which is none of the {kind}. {hint}")


def _admits(platform: Platform, cell: Cell) -> bool:
    chosen: tuple[tuple[Collection[str], str], ...] = (
        (platform.bases, cell.base.name),
        (platform.fabrics, cell.fabric.name),
        (platform.mpis, cell.mpi.name),
    )
    return all(not names or name in names for names, name in chosen)


def _one(parts: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in parts:
        raise InputError(f"there is no {what} {name!r}. {nearest(name, sorted(parts))}".rstrip())
    return parts[name]
