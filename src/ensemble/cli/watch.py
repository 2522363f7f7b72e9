"""`ensemble watch RUN`."""

from __future__ import annotations

import click

from ensemble.cli.remote import on_server, server_options, watch


@click.command("watch")
@click.argument("run", default="last", metavar="RUN")
@server_options
def command(run: str, server: str) -> None:
    """Say how RUN of a server stands whenever that changes."""
    if not server:
        raise click.UsageError("give --server ADDRESS; without one, `ensemble events --follow` shows a run")
    on_server(server, lambda client: watch(client, run))
