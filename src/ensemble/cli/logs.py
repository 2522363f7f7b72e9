"""`ensemble logs RUN KEY`."""

from __future__ import annotations

import sys

import click

from ensemble.cli.options import run_argument, runs_options, verb
from ensemble.runs import Runs


@verb("logs")
@run_argument(default=None)
@click.argument("key")
@click.option("--attempt", type=click.IntRange(1), default=None, help="Number of the attempt.  [default: the last]")
@click.option("--stderr", is_flag=True, help="Print standard error instead of standard output.")
@click.option("--file", "file", default="", help="Print this file of the job's directory instead.")
@click.option("--follow", "-f", is_flag=True, help="Print what is written from now on too, until the job ends.")
@runs_options
def command(runs: Runs, run: str, key: str, attempt: int | None, stderr: bool, file: str, follow: bool) -> None:
    """Print the output of job KEY of RUN."""
    name = file or ("stderr" if stderr else "stdout")
    for data in runs.find(run).logs(key, name, attempt or 0, follow=follow):
        sys.stdout.buffer.write(data)
        if follow:
            sys.stdout.buffer.flush()
