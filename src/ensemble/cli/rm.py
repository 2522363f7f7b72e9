"""`ensemble rm RUN`."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import click

from ensemble.cli.common import run_argument
from ensemble.cli.remote import on_server, server_options


@click.command("rm")
@run_argument(default=None)
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def command(run_dir: Path, yes: bool, server: str) -> None:
    """Remove RUN with everything its jobs wrote."""
    if server:
        if not yes:
            click.confirm(f"Remove {run_dir} of {server} and everything in it?", abort=True)
        on_server(server, lambda client: client.remove(str(run_dir)))
        return
    from ensemble.journal import writer_of
    from ensemble.journal.writer import process_start
    from ensemble.model.errors import InputError
    from ensemble.runtime import index

    writer = writer_of(run_dir)
    if writer.host == socket.gethostname() and writer.pid_started == process_start(writer.pid):
        raise InputError(f"run {run_dir.name} is being run by process {writer.pid}; cancel it first")
    if not yes:
        click.confirm(f"Remove {run_dir} and everything in it?", abort=True)
    shutil.rmtree(run_dir)
    index.forget(run_dir)
