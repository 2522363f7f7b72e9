"""`ensemble cancel RUN [KEY...]`."""

from __future__ import annotations

import sys

import click

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("cancel")
@run_argument(default=None)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--drain", is_flag=True, help="Start no more jobs and let those that run finish.")
@runs_options
@output_option
def command(runs: Runs, run: str, keys: tuple[str, ...], drain: bool, output: Output) -> None:
    """Cancel the jobs of RUN and end it, or cancel only the jobs KEY.

    A run that no process works on is taken over for this. The journal records who asked.
    """
    if keys and drain:
        raise click.UsageError("--drain is for a whole run; leave out the jobs")
    found = runs.find(run)
    answer = found.drain() if drain else found.cancel(keys)
    output.show(f"{found.name}: {answer.text}", {"run": found.name, "done": answer.done, "text": answer.text})
    sys.exit(0 if answer.done else 2)
