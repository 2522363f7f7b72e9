"""`ensemble run FILE`."""

from __future__ import annotations

import sys

import click

from ensemble.cli.options import output_option, runs_options, verb
from ensemble.cli.output import Output, Showing
from ensemble.runs import Runs, Submission


@verb("run")
@click.argument("file", type=click.Path())
@click.option("--member", default="", metavar="KIND", help="Run on this kind of member, whatever the file says.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=None, help="Number of nodes of the member.")
@click.option("--image", default="", help="Container image of the jobs, on members of Kubernetes.")
@click.option("--run-dir", default="", help="Directory of this run.  [default: <base>/<name>-<n>]")
@click.option("--base", default="runs", show_default=True, help="Directory in which runs are created.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Seed of random choices, whatever the file says.")
@click.option(
    "--detach", is_flag=True, help="Return once all jobs are submitted (with --server: at once); the jobs continue."
)
@click.option("--debug", is_flag=True, help="Show every event.")
@runs_options
@output_option
def command(
    runs: Runs,
    file: str,
    member: str,
    nodes: int | None,
    image: str,
    run_dir: str,
    base: str,
    seed: int | None,
    detach: bool,
    debug: bool,
    output: Output,
) -> None:
    """Run the ensemble of FILE to its end."""
    submission = Submission(file, member, nodes or 0, seed, detach, debug, run_dir=run_dir, base=base, image=image)
    with Showing(output, debug=debug) as showing:
        result = runs.submit(submission, showing.observe, output.warn)
    sys.exit(showing.close(result))
