"""`ensemble explain RUN [RULE]`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("explain")
@run_argument()
@click.argument("rule", default="")
@runs_options
@output_option
def command(runs: Runs, run: str, rule: str, output: Output) -> None:
    """Show when and why each rule of RUN (or only RULE) fired, and what it waits for now."""
    from ensemble.report.history import History
    from ensemble.report.text import explanation

    found = runs.find(run)
    rules = found.explain(rule)
    history = History()
    for record in found.events():
        history.add(record)
    data = [{"rule": one, "history": history.lines.get(one.id, [])} for one in rules]
    output.show(explanation(rules, history.lines, found.status()), data)
