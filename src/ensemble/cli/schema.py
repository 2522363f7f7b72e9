"""`ensemble schema`."""

from __future__ import annotations

import json
import sys

import click

from ensemble.cli.options import output_option
from ensemble.cli.output import Output


@click.command("schema")
@click.option("--markdown", is_flag=True, help="The reference for people (docs/reference.md) instead.")
@output_option
def command(markdown: bool, output: Output) -> None:
    """Print the JSON Schema of ensemble files, for editors."""
    if markdown:
        text = reference()
        output.show(text.removesuffix("\n"), text)
        return
    from ensemble.spec.schema import schema

    found = schema()
    output.show(lambda: json.dumps(found, indent=2), found)


def reference() -> str:
    """The reference with the algorithms that come with this package."""
    from ensemble.algorithms import BUILTIN
    from ensemble.spec import reference as file

    about = {name: sys.modules[type(algorithm).__module__].__doc__ or "" for name, algorithm in BUILTIN.items()}
    return file.reference(about)
