"""`ensemble schema`."""

from __future__ import annotations

import json
import sys

import click


@click.command("schema")
@click.option("--markdown", is_flag=True, help="The reference for people (docs/reference.md) instead.")
def command(markdown: bool) -> None:
    """Print the JSON Schema of ensemble files, for editors."""
    if markdown:
        click.echo(reference(), nl=False)
        return
    from ensemble.spec.schema import schema

    click.echo(json.dumps(schema(), indent=2))


def reference() -> str:
    """The reference with the algorithms that come with this package."""
    from ensemble.algorithms import BUILTIN
    from ensemble.spec import reference as file

    about = {name: sys.modules[type(algorithm).__module__].__doc__ or "" for name, algorithm in BUILTIN.items()}
    return file.reference(about)
