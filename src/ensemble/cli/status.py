"""`ensemble status RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.common import output_option, run_argument, say


@click.command("status")
@run_argument()
@output_option
def command(run_dir: Path, output: str) -> None:
    """Show how RUN stands, from its journal."""
    from ensemble.report.text import closing
    from ensemble.runtime.opening import fold

    engine, _, warnings = fold(run_dir)
    status = engine.status()
    say(output, closing(status, warnings), status)
