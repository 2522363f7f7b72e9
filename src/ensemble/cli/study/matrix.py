"""`ensemble study matrix`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import recipes_option
from ensemble.model.wording import counted

if TYPE_CHECKING:
    from ensemble.studies.recipes import Catalogue, Cell


@verb("matrix")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--platform", default="", metavar="NAME", help="Only the cells of this platform.")
@click.option("--check", is_flag=True, help="Fail if a cell fetches something without a checksum, commit or digest.")
@recipes_option
@output_option
def command(words: tuple[str, ...], platform: str, check: bool, recipes: tuple[str, ...], output: Output) -> None:
    """List the cells, or those whose names have every WORD (an application, a base, an MPI, a fabric).

    `build` says what a build needs: `packages` is built from package registries alone, `internet` fetches sources or
    images from elsewhere too.
    """
    from ensemble.model.errors import InputError
    from ensemble.spec.convert import nearest
    from ensemble.studies.recipes import catalogue

    everything = catalogue(files=recipes)
    if platform and platform not in everything.platforms:
        hint = nearest(platform, sorted(everything.platforms))
        raise InputError(f"there is no platform {platform!r}. {hint}")
    rows = [
        row
        for cell in everything.cells()
        if set(words) <= {cell.application.name, cell.base.name, cell.mpi.name, cell.fabric.name}
        if platform in (row := _row(everything, cell))["platforms"] or not platform
    ]
    if not rows:
        raise InputError("there is no such cell; `ensemble study matrix` lists all of them")
    bad = [row for row in rows if row["unpinned"]]
    if check:
        lines = [f"{row['cell']}: {reason}" for row in bad for reason in row["unpinned"]]
        lines.append(f"{counted(len(rows), 'cell')}: {len(bad) or 'none'} unpinned")
        output.show("\n".join(lines), {"cells": len(rows), "unpinned": {row["cell"]: row["unpinned"] for row in bad}})
        sys.exit(1 if bad else 0)
    output.show(lambda: _text(rows), rows)


def _row(everything: Catalogue, cell: Cell) -> dict[str, Any]:
    figure = cell.application.figure
    return {
        "cell": cell.name,
        "build": cell.reach,
        "flux": "inside or view" if cell.base.flux else "view",
        "figure": f"{figure.name} ({figure.unit})" if figure.unit else figure.name,
        "problems": {name: list(problem.sizes) for name, problem in cell.application.problems.items()},
        "platforms": everything.platforms_of(cell),
        "needs": sorted(cell.needs),
        "unpinned": cell.unpinned,
    }


def _text(rows: list[dict[str, Any]]) -> str:
    from ensemble.report.text import table

    header = ("CELL", "BUILD", "PINNED", "FLUX", "FIGURE OF MERIT", "PROBLEMS", "PLATFORMS")
    lines = [
        (
            row["cell"],
            row["build"],
            "no" if row["unpinned"] else "yes",
            row["flux"],
            row["figure"],
            " ".join(row["problems"]),
            " ".join(row["platforms"]),
        )
        for row in rows
    ]
    built = sum(row["build"] == "packages" for row in rows)
    return f"{table(header, lines)}\n{counted(len(rows), 'cell')}, {built} of them built from packages alone"
