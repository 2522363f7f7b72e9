"""`ensemble journal repair RUN`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, run_argument
from ensemble.cli.output import Output


@click.group("journal")
def command() -> None:
    """Repair a damaged journal."""


@command.command("repair")
@run_argument(default=None)
@output_option
def repair_command(run: str, output: Output) -> None:
    """Cut the journal of RUN at its first damaged record. The bytes from there on are kept in a separate file."""
    from ensemble.journal import repair
    from ensemble.model.wording import counted
    from ensemble.runtime import index

    run_dir = index.find(run)
    report = repair(run_dir)
    if report.damaged:
        text = (
            f"{report.damaged}\nRecords 1 to {report.kept} are kept. {counted(report.lost, 'record')} after the damage "
            f"could be read but cannot be used.\nThe bytes from the damage on are in {report.aside}."
        )
    else:
        text = f"The journal of {run_dir.name} is not damaged: {counted(report.kept, 'record')}."
    output.show(text, report)
