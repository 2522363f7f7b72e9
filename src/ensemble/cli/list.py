"""`ensemble list`."""

from __future__ import annotations

import time

import click

from ensemble.cli.common import output_option, say


@click.command("list")
@output_option
def command(output: str) -> None:
    """Show the runs there are, newest last."""
    from ensemble.report.text import table
    from ensemble.runtime import index

    runs = index.known()
    rows = [[run.name, time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)), str(run.path)] for run in runs]
    data = [{"name": run.name, "created": run.created, "path": str(run.path)} for run in runs]
    say(output, table(["run", "begun", "directory"], rows) if rows else "there are no runs yet", data)
