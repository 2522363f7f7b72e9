"""`ensemble status RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.common import output_option, run_argument, say
from ensemble.cli.remote import on_server, server_options, show_status


@click.command("status")
@run_argument()
@server_options
@output_option
def command(run_dir: Path, server: str, output: str) -> None:
    """Show how RUN stands, from its journal."""
    if server:
        on_server(server, lambda client: show_status(client, str(run_dir), output))
        return
    from ensemble.report.text import closing
    from ensemble.runtime.opening import fold

    engine, _, warnings = fold(run_dir)
    status = engine.status()
    say(output, closing(status, warnings), status)
