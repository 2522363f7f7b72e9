"""What of a cell is pinned: every download by its checksum, every clone by its commit, every image by its digest."""

from __future__ import annotations

__all__ = ["unpinned"]

from ensemble.studies.recipes.cells import Cell


def unpinned(cell: Cell) -> list[str]:
    """What a build of this cell would fetch without knowing what it gets; empty when all is pinned.

    Packages of a distribution are not named here: the distribution signs them, and the image lists their versions.
    """
    found = [] if cell.base.digest else [f"the image {cell.base.image} has no digest"]
    for part, variant in cell.steps:
        found += [f"{part.name}: {one.url} has no sha256" for one in variant.downloads.values() if not one.sha256]
        found += [f"{part.name}: {one.url} has no commit" for one in variant.clones.values() if not one.commit]
        found += [
            f"{part.name}: {name} from PyPI has no sha256" for name, one in variant.python.items() if not one.sha256
        ]
    return found
