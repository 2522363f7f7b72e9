"""`ensemble cancel RUN [KEY...]`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.common import run_argument


@click.command("cancel")
@run_argument(default=None)
@click.argument("keys", nargs=-1)
@click.option("--drain", is_flag=True, help="Let running jobs finish.")
def command(run_dir: Path, keys: tuple[str, ...], drain: bool) -> None:
    """Ask RUN to end (or only to cancel the jobs KEYS). Who asked is journaled."""
    from ensemble.model.events import Requested
    from ensemble.runtime import requests
    from ensemble.runtime.opening import who

    what = "cancel-jobs" if keys else "drain" if drain else "cancel"
    requests.post(run_dir, Requested(what, who(), keys))
    click.echo(f"{run_dir.name} was asked to {'cancel ' + ', '.join(keys) if keys else what}")
