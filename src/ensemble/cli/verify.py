"""`ensemble verify RUN`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ensemble.cli.common import output_option, run_argument, say


@click.command("verify")
@run_argument()
@output_option
def command(run_dir: Path, output: str) -> None:
    """Decide every record of RUN again and report the first difference."""
    from ensemble.runtime import verify

    found = verify(run_dir)
    text = found.difference or f"{found.records} records decided again: no difference"
    say(output, text, {"records": found.records, "difference": found.difference})
    sys.exit(1 if found.difference else 0)
