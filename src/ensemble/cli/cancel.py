"""`ensemble cancel RUN [KEY...]`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.common import run_argument
from ensemble.cli.remote import cancel, on_server, server_options


@click.command("cancel")
@run_argument(default=None)
@click.argument("keys", nargs=-1)
@click.option("--drain", is_flag=True, help="Let running jobs finish.")
@server_options
def command(run_dir: Path, keys: tuple[str, ...], drain: bool, server: str) -> None:
    """Ask RUN to end (or only to cancel the jobs KEYS). Who asked is journaled."""
    if server:
        on_server(server, lambda client: cancel(client, str(run_dir), keys, drain))
        return
    from ensemble.model.events import Requested
    from ensemble.runtime import requests
    from ensemble.runtime.opening import who

    what = "cancel-jobs" if keys else "drain" if drain else "cancel"
    requests.post(run_dir, Requested(what, who(), keys))
    click.echo(f"{run_dir.name} was asked to {'cancel ' + ', '.join(keys) if keys else what}")
