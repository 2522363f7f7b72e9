"""`ensemble update RUN FILE`."""

from __future__ import annotations

import sys

import click

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs, Submission


@verb("update")
@run_argument(default=None)
@click.argument("file", type=click.Path())
@click.option("--member", default="", metavar="KIND", help="The kind of member that RUN was started on with --member.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=None, help="Number of nodes of the member.")
@runs_options
@output_option
def command(runs: Runs, run: str, file: str, member: str, nodes: int | None, output: Output) -> None:
    """Let RUN, which goes on, follow the changed FILE.

    Limits, rules and the sizes of members are changed. Rules that are in both files keep their state. A file that
    differs in anything else is refused, and the run goes on as it was. The journal records the change and who asked.
    """
    found = runs.find(run)
    answer = found.update(Submission(file, member, nodes or 0), output.warn)
    text = answer.text or "follows the changed file"
    output.show(f"{found.name}: {text}", {"run": found.name, "done": answer.done, "text": text})
    sys.exit(0 if answer.done else 2)
