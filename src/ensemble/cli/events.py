"""`ensemble events RUN`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from ensemble.cli.common import run_argument
from ensemble.cli.remote import on_server, print_events, server_options


@click.command("events")
@run_argument()
@click.option("--follow", "-f", is_flag=True, help="Go on as they come, until the run is over.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only records after this number.")
@server_options
def command(run_dir: Path, follow: bool, after: int, server: str) -> None:
    """Print the records of RUN as JSON lines: each event with what was decided on it."""
    if server:
        on_server(server, lambda client: print_events(client, str(run_dir), after, follow))
        return
    from ensemble.journal import follow as follow_journal
    from ensemble.journal import read
    from ensemble.model.decisions import End

    over = False
    records = follow_journal(run_dir, after, lambda: over) if follow else read(run_dir, after)
    for record in records:
        sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
        if follow:
            sys.stdout.buffer.flush()
        over = any(isinstance(effect, End) for step in record.steps for effect in getattr(step, "effects", ()))
