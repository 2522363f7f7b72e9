"""`ensemble resume RUN`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from ensemble.cli.common import output_option, run_argument
from ensemble.cli.remote import on_server, server_options


@click.command("resume")
@run_argument()
@click.option("--force", is_flag=True, help="Take the run over even if a process seems to be at it.")
@server_options
@output_option
def command(run_dir: Path, force: bool, server: str, output: str) -> None:
    """Go on with RUN after whatever ended its process: nothing is lost and nothing runs twice."""
    if server:
        from ensemble.cli.remote import resume as resume_there

        if force:
            raise click.UsageError("--force is for this machine; a server has its runs for itself")
        sys.exit(on_server(server, lambda client: resume_there(client, str(run_dir), output)))
    from ensemble.report.live import Live
    from ensemble.runtime import resume
    from ensemble.runtime.opening import fold

    engine, _, _ = fold(run_dir)
    live = Live(engine.spec, output, engine)
    with live:
        result = asyncio.run(resume(run_dir, observers=[live.observe], force=force))
    live.close(result)
    sys.exit(result.exit_code)
