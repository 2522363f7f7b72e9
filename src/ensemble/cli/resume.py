"""`ensemble resume RUN`."""

from __future__ import annotations

import sys

import click

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output, Showing
from ensemble.runs import Runs


@verb("resume")
@run_argument()
@click.option("--force", is_flag=True, help="Take the run over even from a process that works on it.")
@runs_options
@output_option
def command(runs: Runs, run: str, force: bool, output: Output) -> None:
    """Continue RUN after whatever ended its process. No job is lost and none runs twice."""
    found = runs.find(run)
    with Showing(output, engine=found.engine()) as showing:
        result = found.resume(showing.observe, force=force)
    sys.exit(showing.close(result))
