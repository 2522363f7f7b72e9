"""`ensemble study`: what it can do, each a module of this package."""

from __future__ import annotations

from typing import Final

import click

from ensemble.cli.main import Verbs

VERBS: Final[dict[str, str]] = {}
"""In the order of use: a name, and what `--help` says of it."""


@click.command("study", cls=Verbs, own=VERBS, package=__name__)
def command() -> None:
    """Measure applications in containers, and generate experiments with known durations and patterns."""
