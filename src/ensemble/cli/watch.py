"""`ensemble watch RUN`."""

from __future__ import annotations

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("watch")
@run_argument()
@runs_options
@output_option
def command(runs: Runs, run: str, output: Output) -> None:
    """Print one line on the state of RUN whenever it changes, until no process works on it."""
    from ensemble.report.text import progress

    for status in runs.find(run).watch():
        output.show(progress(status), status)
