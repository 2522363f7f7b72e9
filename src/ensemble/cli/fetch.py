"""`ensemble fetch REF`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, registry_option, verb
from ensemble.cli.output import Output


@verb("fetch")
@click.argument("reference", metavar="REF")
@click.option("--to", default="", metavar="DIR", help="The directory of the run.  [default: runs/<its name>]")
@registry_option
@output_option
def command(reference: str, to: str, plain_http: bool, output: Output) -> None:
    """Get the run that REF names from a registry; every verb then reads it like a run of this machine.

    REF is HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST. Every file is checked against its digest.
    """
    from ensemble.artifacts.fetching import fetch

    found = fetch(reference, to, plain_http=plain_http)
    was = "was here already" if found.was_here else "is here"
    output.show(f"{found.reference} {was}: {found.path}", found)
