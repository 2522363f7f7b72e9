"""`ensemble logs RUN KEY`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from ensemble.cli.common import run_argument
from ensemble.cli.remote import on_server, print_logs, server_options


@click.command("logs")
@run_argument(default=None)
@click.argument("key")
@click.option("--attempt", type=click.IntRange(1), default=1, show_default=True)
@click.option("--stderr", is_flag=True, help="Standard error instead of standard output.")
@click.option("--file", "name", default="", help="Another file of the job's directory.")
@server_options
def command(run_dir: Path, key: str, attempt: int, stderr: bool, name: str, server: str) -> None:
    """Print what job KEY of RUN wrote."""
    # a file that is named is meant as it is named
    attempt = 1 if name else attempt
    name = name or ("stderr" if stderr else "stdout")
    if server:
        on_server(server, lambda client: print_logs(client, str(run_dir), key, name, attempt))
        return
    from ensemble.runtime.output import job_file

    with job_file(run_dir, key, name, attempt).open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
