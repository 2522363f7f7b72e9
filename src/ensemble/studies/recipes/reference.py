"""The reference of recipe files as Markdown, from their keys: `python -m ensemble.studies.recipes.reference`."""

from __future__ import annotations

__all__ = ["reference"]

import sys
from typing import Final

from ensemble.spec.reference import keys_table
from ensemble.studies.recipes.catalogue import ENTRY_POINTS, OWN_FILE
from ensemble.studies.recipes.model import (
    Application,
    Base,
    Clone,
    Download,
    Fabric,
    Figure,
    Mpi,
    Platform,
    Problem,
    PythonPackage,
    RecipeFile,
    Variant,
)

_SECTIONS: Final[tuple[tuple[str, type], ...]] = (
    ("The file", RecipeFile),
    ("Bases", Base),
    ("Fabrics", Fabric),
    ("MPIs", Mpi),
    ("Applications", Application),
    ("Variants", Variant),
    ("Downloads", Download),
    ("Clones", Clone),
    ("Packages from PyPI", PythonPackage),
    ("Problems", Problem),
    ("Figures of merit", Figure),
    ("Platforms", Platform),
)

_HEAD: Final = """# Recipe files

<!-- Written by `python -m ensemble.studies.recipes.reference > docs/recipes.md`. -->

What [a study](studies.md) builds, key by key. A recipe is data: nothing in it is run before an image is built.

Recipes are read from this package, from packages with an entry point in the group `{group}` (it names a
package with YAML files), from `{file}` in the directory where a command is given, and from `--recipes FILE`."""


def reference() -> str:
    """The whole page."""
    lines = [_HEAD.format(group=ENTRY_POINTS, file=OWN_FILE)]
    for title, struct in _SECTIONS:
        about = (struct.__doc__ or "").partition("\n")[0]
        lines += ["", f"## {title}", "", about, "", *keys_table(struct)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
