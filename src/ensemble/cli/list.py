"""`ensemble list`."""

from __future__ import annotations

import time

import click

from ensemble.cli.common import output_option, say
from ensemble.cli.remote import list_runs, on_server, server_options


@click.command("list")
@server_options
@output_option
def command(server: str, output: str) -> None:
    """Show the runs there are, newest last."""
    if server:
        on_server(server, lambda client: list_runs(client, output))
        return
    from ensemble.report.text import table
    from ensemble.runtime import index

    runs = index.known()
    rows = [[run.name, time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)), str(run.path)] for run in runs]
    data = [{"name": run.name, "created": run.created, "path": str(run.path)} for run in runs]
    say(output, table(["run", "begun", "directory"], rows) if rows else "there are no runs yet", data)
