"""`ensemble version`."""

from __future__ import annotations

import platform

import click


@click.command("version")
def command() -> None:
    """Print the version of this program, of Python and of the journal format."""
    from ensemble import __version__
    from ensemble.journal.format import FORMAT

    click.echo(f"ensemble {__version__}, Python {platform.python_version()}, journal format {FORMAT}")
