"""`ensemble status RUN`."""

from __future__ import annotations

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("status")
@run_argument()
@runs_options
@output_option
def command(runs: Runs, run: str, output: Output) -> None:
    """Show the state of RUN: its jobs by group, its members, and the rules that fired."""
    from ensemble.report.text import closing

    status = runs.find(run).status()
    output.show(lambda: closing(status), status)
