"""`ensemble schema`."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of ensemble files, for editors."""
    from ensemble.spec.schema import schema

    click.echo(json.dumps(schema(), indent=2))
