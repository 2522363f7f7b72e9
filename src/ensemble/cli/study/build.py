"""`ensemble study build CELL...`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import flux_option, recipes_option


@verb("build")
@click.argument("cells", nargs=-1, required=True, metavar="CELL...")
@click.option("--base", default="", metavar="IMAGE", help="Begin with this image instead of the one of the recipe.")
@click.option("--bootstrap", is_flag=True, help="Make the base from the distribution's packages, without a registry.")
@click.option("--unpinned", is_flag=True, help="Build although something is fetched without a checksum or commit.")
@flux_option
@recipes_option
@output_option
def command(
    cells: tuple[str, ...],
    base: str,
    bootstrap: bool,
    unpinned: bool,
    flux: bool,
    recipes: tuple[str, ...],
    output: Output,
) -> None:
    """Build the image of each CELL with buildah or podman, labelled with the digest of its recipe.

    An image whose recipe has not changed is not built again and has the same digest.
    """
    from ensemble.model.errors import InputError
    from ensemble.studies.recipes import building, catalogue

    if base and bootstrap:
        raise InputError("--base names an image and --bootstrap makes one: give one of them")
    everything = catalogue(files=recipes)
    for cell in [everything.cell(name) for name in cells]:
        begin = building.bootstrap(cell.base) if bootstrap else base
        built = building.build(cell, base=begin, flux=flux, quiet=output.form != "human", allow_unpinned=unpinned)
        output.show(f"{built.cell}: {built.image}\n  digest {built.digest}\n  recipe {built.recipe}", built)
