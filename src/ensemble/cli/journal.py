"""`ensemble journal repair RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.common import run_argument


@click.group("journal")
def command() -> None:
    """Look after a damaged journal."""


@command.command("repair")
@run_argument(default=None)
def repair_command(run_dir: Path) -> None:
    """Cut the journal of RUN at its first bad record; the bad bytes are kept aside."""
    from ensemble.journal import repair

    report = repair(run_dir)
    if not report.damaged:
        click.echo(f"the journal of {run_dir.name} is sound: {report.kept} records")
        return
    click.echo(
        f"{report.damaged}\nrecords 1 to {report.kept} are kept; {report.lost} readable ones after the damage are not"
    )
    click.echo(f"the bytes from the damage on are in {report.aside}")
