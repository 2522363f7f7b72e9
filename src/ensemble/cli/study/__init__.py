"""`ensemble study`: what it can do, each a module of this package."""

from __future__ import annotations

from typing import Final

import click

from ensemble.cli.main import Verbs

VERBS: Final[dict[str, str]] = {
    "matrix": "List the cells: applications, bases, MPIs and fabrics that fit together.",
    "render": "Print the Containerfile of a cell.",
    "build": "Build the image of a cell.",
    "measure": "Measure a cell or a command: time, figure of merit, share of MPI, the machine.",
    "sample": "Choose what to measure within a budget.",
    "fit": "Fit a pattern to the measurements of each cell.",
    "show": "Show the patterns of a study.",
    "plan": "Make an ensemble from a plan.",
    "report": "Write a page about a study.",
    "compare": "Compare saved runs: ratios with intervals, and what was different.",
}
"""In the order of use: a name, and what `--help` says of it."""


@click.command("study", cls=Verbs, own=VERBS, package=__name__)
def command() -> None:
    """Measure applications in containers, and generate experiments with known durations and patterns."""
