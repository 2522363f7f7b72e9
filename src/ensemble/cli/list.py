"""`ensemble list`."""

from __future__ import annotations

import time

from ensemble.cli.options import output_option, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import RunInfo, Runs


@verb("list")
@runs_options
@output_option
def command(runs: Runs, output: Output) -> None:
    """List the runs, the newest last, with the state or the outcome of each.

    No process works on a run that is drained, detached (its process left on request, and its jobs continue) or
    interrupted (its process was ended). `ensemble resume` continues it.
    """
    from ensemble.report.text import table

    found = runs.list()
    text = table(["run", "started", "state", "by", "directory"], [_row(one) for one in found])
    output.show(text if found else "There are no runs yet.", found)


def _row(run: RunInfo) -> list[str]:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)) if run.created else "-"
    return [run.name, started, run.outcome or run.state, run.by, run.path]
