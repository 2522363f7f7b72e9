"""`ensemble resume RUN`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from ensemble.cli.common import output_option, run_argument


@click.command("resume")
@run_argument()
@click.option("--force", is_flag=True, help="Take the run over even if a process seems to be at it.")
@output_option
def command(run_dir: Path, force: bool, output: str) -> None:
    """Go on with RUN after whatever ended its process: nothing is lost and nothing runs twice."""
    from ensemble.report.live import Live
    from ensemble.runtime import resume
    from ensemble.runtime.opening import fold

    engine, _, _ = fold(run_dir)
    live = Live(engine.spec, output, engine)
    with live:
        result = asyncio.run(resume(run_dir, observers=[live.observe], force=force))
    live.close(result)
    sys.exit(result.exit_code)
