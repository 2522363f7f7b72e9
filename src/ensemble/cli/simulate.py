"""`ensemble simulate FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ensemble.cli.common import RunArgument, output_option, say, show_warnings


@click.command("simulate")
@click.argument("file", type=click.Path())
@click.option(
    "--repeat", type=click.IntRange(1, 100_000), default=1, show_default=True, help="So often, for intervals."
)
@click.option("--seed", type=click.IntRange(0), default=None, help="Instead of the file's seed.")
@click.option("--compare", "compared", type=RunArgument(), default=None, metavar="RUN", help="Hold it against RUN.")
@click.option("--record", default="", help="New directory for the journal of the first repetition.")
@output_option
def command(file: str, repeat: int, seed: int | None, compared: Path | None, record: str, output: str) -> None:
    """Run the ensemble of FILE in virtual time: how long, how full, what cost, which rules fire."""
    from ensemble.report.simulation import comparison, simulation
    from ensemble.runtime.examining import examine
    from ensemble.runtime.index import find
    from ensemble.runtime.opening import algorithms, member_kinds
    from ensemble.simulation import simulate
    from ensemble.spec.loader import load_with_places

    known = algorithms()
    spec, places = load_with_places(file, known, member_kinds())
    show_warnings(examine(spec, places), output)
    result = simulate(spec, seed=seed, repeat=repeat, record=record or None, algorithms=known, find=find)
    if compared is None:
        say(output, simulation(result), result)
    else:
        from ensemble.journal import read
        from ensemble.simulation.compare import compare

        found = compare(result, read(compared), known)
        say(
            output, simulation(result) + "\n\n" + comparison(found, compared.name), {"result": result, "compare": found}
        )
    ended = [run.outcome for run in result.runs]
    sys.exit(0 if all(outcome == "success" for outcome in ended) else 3 if "limit" in ended else 1)
