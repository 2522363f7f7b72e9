"""`ensemble logs RUN KEY`."""

from __future__ import annotations

import sys
from codecs import getincrementaldecoder

import click

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Run, Runs


@verb("logs")
@run_argument(default=None)
@click.argument("key", default="", metavar="KEY")
@click.option("--attempt", type=click.IntRange(1), default=None, help="Number of the attempt.  [default: the last]")
@click.option("--stderr", is_flag=True, help="Print standard error instead of standard output.")
@click.option("--file", "file", default="", help="Print this file of the job's directory instead.")
@click.option("--follow", "-f", is_flag=True, help="Print what is written from now on too, until the job ends.")
@runs_options
@output_option
def command(
    runs: Runs, run: str, key: str, attempt: int | None, stderr: bool, file: str, follow: bool, output: Output
) -> None:
    """Print the output of job KEY of RUN, such as melt-3.

    With --output json, each piece of the output is the `text` of one object.
    """
    found = runs.find(run)
    if not key:
        raise click.UsageError(f"KEY is missing: the key of a job{_example(found)}")
    name = file or ("stderr" if stderr else "stdout")
    decode = getincrementaldecoder("utf-8")("replace").decode
    for data in found.logs(key, name, attempt or 0, follow=follow):
        if output.human:
            sys.stdout.buffer.write(data)
        else:
            output.show("", {"key": key, "file": name, "text": decode(data)})
        if follow:
            sys.stdout.buffer.flush()


def _example(run: Run) -> str:
    """A job whose output can be looked at, if there is any: one that failed rather than another."""
    failed = next((one.example for one in run.status().failures if one.attempt), "")
    key = failed or next((row["key"] for row in run.results() if row["attempt"]), "")
    if not key:
        return f"; run {run.name} has started none yet"
    return f", such as {key}{', which failed' if failed else ''} (`ensemble results {run.name}` lists them all)"
