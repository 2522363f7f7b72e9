"""`ensemble simulate FILE`."""

from __future__ import annotations

import sys

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output


@verb("simulate")
@click.argument("file", type=click.Path())
@click.option(
    "--repeat",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="Number of simulated runs. With more than one, confidence intervals are shown.",
)
@click.option("--seed", type=click.IntRange(0), default=None, help="Seed of random choices, whatever the file says.")
@click.option("--compare", "compared", default="", metavar="RUN", help="Compare the simulation with this run.")
@click.option("--record", default="", metavar="DIRECTORY", help="New directory for the journal of the first run.")
@output_option
def command(file: str, repeat: int, seed: int | None, compared: str, record: str, output: Output) -> None:
    """Run the ensemble of FILE in virtual time: its makespan, utilisation and cost, and the rules that fire."""
    from ensemble.report.simulation import comparison, simulation
    from ensemble.runtime.examining import examine
    from ensemble.runtime.index import find
    from ensemble.runtime.opening import algorithms, member_kinds
    from ensemble.simulation import simulate
    from ensemble.spec.loader import load_with_places

    known = algorithms()
    spec, places = load_with_places(file, known, member_kinds())
    for warning in examine(spec, places):
        output.warn(warning)
    result = simulate(spec, seed=seed, repeat=repeat, record=record or None, algorithms=known, find=find)
    if not compared:
        output.show(simulation(result), result)
    else:
        from ensemble.journal import read
        from ensemble.simulation.compare import compare

        run_dir = find(compared)
        found = compare(result, read(run_dir), known)
        text = simulation(result) + "\n\n" + comparison(found, run_dir.name)
        output.show(text, {"result": result, "compare": found})
    ended = [run.outcome for run in result.runs]
    sys.exit(0 if all(outcome == "success" for outcome in ended) else 3 if "limit" in ended else 1)
