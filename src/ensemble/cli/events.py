"""`ensemble events RUN`."""

from __future__ import annotations

import sys

import click
import msgspec

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("events")
@run_argument()
@click.option("--follow", "-f", is_flag=True, help="Print new records as they come, until the run is over.")
@click.option("--after", type=click.IntRange(0), default=0, help="Print only records with a higher number.")
@runs_options
@output_option
def command(runs: Runs, run: str, follow: bool, after: int, output: Output) -> None:
    """Print the journal of RUN: each event with the decisions that followed, one JSON object a line.

    People and programs get the same lines.
    """
    for record in runs.find(run).events(after, follow=follow):
        if output.form == "quiet":
            continue
        sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
        if follow:
            sys.stdout.buffer.flush()
