"""`ensemble study render CELL`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import flux_option, recipes_option


@verb("render")
@click.argument("cell")
@click.option("--directory", default="", metavar="DIR", help="Write all that a build needs into this new directory.")
@flux_option
@recipes_option
@output_option
def command(cell: str, directory: str, flux: bool, recipes: tuple[str, ...], output: Output) -> None:
    """Print the Containerfile of CELL, which is APP/BASE/MPI or APP/BASE/MPI/FABRIC."""
    from ensemble.model.errors import InputError
    from ensemble.studies.recipes import catalogue, containerfile, digest
    from ensemble.studies.recipes.building import write_context

    found = catalogue(files=recipes).cell(cell)
    text = containerfile(found, flux)
    for reason in found.unpinned:
        output.warn(f"{found.name} is unpinned: {reason}")
    if directory:
        try:
            write_context(Path(directory), found, flux)
        except OSError as error:
            raise InputError(f"{directory}: {error.strerror}") from error
    shown = f"{found.name}: written to {directory}" if directory else text.removesuffix("\n")
    output.show(shown, {"cell": found.name, "digest": digest(found, flux), "containerfile": text})
