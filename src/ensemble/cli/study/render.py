"""`ensemble study render CELL`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import flux_option, recipes_option


@verb("render")
@click.argument("cell")
@flux_option
@recipes_option
@output_option
def command(cell: str, flux: bool, recipes: tuple[str, ...], output: Output) -> None:
    """Print the Containerfile of CELL, which is APP/BASE/MPI or APP/BASE/MPI/FABRIC."""
    from ensemble.studies.recipes import catalogue, containerfile, digest, unpinned

    found = catalogue(files=recipes).cell(cell)
    text = containerfile(found, flux)
    for reason in unpinned(found):
        output.warn(f"{found.name} is unpinned: {reason}")
    output.show(text.removesuffix("\n"), {"cell": found.name, "digest": digest(found, flux), "containerfile": text})
