"""`ensemble study report`."""

from __future__ import annotations

from functools import partial

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import study_option


@verb("report")
@study_option
@click.option("--run", "names", multiple=True, metavar="RUN", help="Draw the jobs of this run too; may be repeated.")
@click.option("--to", "-o", default="", metavar="FILE", help="Name of the page.  [default: report.html in the study]")
@partial(output_option, letter="")
def command(study: str, names: tuple[str, ...], to: str, output: Output) -> None:
    """Write a page of HTML about a study: patterns, shares of MPI, figures of merit, hook-up times and runs.

    The page needs no other file and no network.
    """
    from pathlib import Path

    from ensemble.model.errors import InputError
    from ensemble.runs import open_runs
    from ensemble.studies.measuring.measurement import measurements
    from ensemble.studies.page import study_page
    from ensemble.studies.patterns import FILE, read_patterns
    from ensemble.studies.planning.experiment import write_text

    directory = Path(study)
    measured = list(measurements(directory))
    if not measured and not names:
        raise InputError(f"{directory}: there are no measurements here; `ensemble study measure` makes them")
    patterns = read_patterns(directory) if (directory / FILE).exists() else None
    with open_runs() as runs:
        rows = {run.name: list(run.results()) for run in map(runs.find, names)}
    path = Path(to) if to else directory / "report.html"
    write_text(path, study_page(directory.resolve().name, measured, patterns, rows))
    output.show(f"wrote {path}", {"file": str(path)})
