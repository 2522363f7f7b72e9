"""`ensemble study compare REF REF`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble.cli.options import output_option, registry_option, verb
from ensemble.cli.output import Output

if TYPE_CHECKING:
    from ensemble.studies.comparing import Ratio, Side


@verb("compare")
@click.argument("references", nargs=-1, required=True, metavar="REF REF...")
@registry_option
@output_option
def command(references: tuple[str, ...], plain_http: bool, output: Output) -> None:
    """Compare saved runs: each quantity of each point with that of the first run, as a ratio with its 95 % interval.

    REF is HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST in a registry, or the directory of a run. What was different
    about the machines is listed below.
    """
    from ensemble.model.errors import InputError
    from ensemble.report.text import number, table
    from ensemble.studies.comparing import compare, differences

    if len(references) < 2:
        raise InputError("there is nothing to compare: name at least two runs")
    sides = [_side(reference, plain_http) for reference in references]
    names = _named(sides)
    found = compare(sides)
    lines = [
        [one.point, one.quantity, number(one.first), *(cell for other in one.others for cell in _cells(other))]
        for one in found
    ]
    heads = ["point", "quantity", names[0], *(head for name in names[1:] for head in (name, "ratio", "95 %"))]
    different = differences([side.environment for side in sides])
    text = table(heads, lines)
    if different:
        rows = [
            [name, *("" if value is None else str(value) for value in values)] for name, values in different.items()
        ]
        text += "\n\n" + table(["different", *names], rows)
    data = {"runs": names, "compared": found, "different": different}
    output.show(text, data)


def _side(reference: str, plain_http: bool) -> Side:
    """A run of a registry, or one whose directory is here."""
    from ensemble.artifacts.fetching import look_at
    from ensemble.artifacts.packing import environment_of
    from ensemble.runs.local import LocalRun
    from ensemble.studies.comparing import Side

    with ExitStack() as stack:
        if (Path(reference) / "journal").is_dir():
            run = LocalRun(Path(reference).absolute())
        else:
            run, _ = stack.enter_context(look_at(reference, plain_http=plain_http))
        return Side(run.status().run, list(run.results("point")), environment_of(run))


def _named(sides: list[Side]) -> list[str]:
    """The names of the runs, with a number where two have the same."""
    names = [side.name for side in sides]
    return [f"{name} ({place + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]


def _cells(other: Ratio) -> list[str]:
    from ensemble.report.text import number

    interval = f"{number(other.low)} to {number(other.high)}" if other.low is not None else ""
    return [number(other.mean), number(other.ratio), interval]
