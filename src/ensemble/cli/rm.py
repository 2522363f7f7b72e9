"""`ensemble rm RUN`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("rm")
@run_argument(default=None)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--force", is_flag=True, help="Remove the run even if a process works on it, or its jobs may still run.")
@runs_options
@output_option
def command(runs: Runs, run: str, yes: bool, force: bool, output: Output) -> None:
    """Delete RUN and everything that its jobs wrote."""
    found = runs.find(run)
    if not yes:
        found.check_removal(force=force)
        click.confirm(f"Delete run {found.name} and all files of its jobs?", abort=True)
    found.remove(force=force)
    output.show(f"deleted run {found.name}", {"run": found.name, "path": found.path})
