"""`ensemble list`."""

from __future__ import annotations

import time

import click

from ensemble.cli.options import output_option, registry_option, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import RunInfo, Runs


@verb("list")
@click.option(
    "--at",
    "where",
    default="",
    metavar="REF",
    help="List the saved runs of a repository (HOST/REPOSITORY), or those attached to an image (HOST/REPOSITORY:TAG).",
)
@registry_option
@runs_options
@output_option
def command(runs: Runs, where: str, plain_http: bool, output: Output) -> None:
    """List the runs, the newest last, with the state or the outcome of each.

    No process works on a run that is drained, detached (its process left on request, and its jobs continue) or
    interrupted (its process was ended). `ensemble resume` continues it.
    """
    from ensemble.report.text import table

    if where:
        _saved(where, plain_http, output)
        return
    found = runs.list()
    text = table(["run", "started", "state", "by", "directory"], [_row(one) for one in found])
    output.show(text if found else "There are no runs yet.", found)


def _row(run: RunInfo) -> list[str]:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)) if run.created else "-"
    return [run.name, started, run.outcome or run.state, run.by, run.path]


def _saved(where: str, plain_http: bool, output: Output) -> None:
    """The runs that a registry has."""
    from ensemble.artifacts.fetching import runs_in
    from ensemble.artifacts.naming import PREFIX
    from ensemble.report.text import table

    found = list(runs_in(where, plain_http=plain_http))
    columns = ("run", "outcome", "jobs", "cells", "size", "environment")
    rows = [[*(notes.get(f"{PREFIX}{name}", "") for name in columns), str(reference)] for reference, notes in found]
    data = [{"reference": str(reference), "annotations": notes} for reference, notes in found]
    output.show(table([*columns, "reference"], rows) if rows else f"There are no saved runs at {where}.", data)
