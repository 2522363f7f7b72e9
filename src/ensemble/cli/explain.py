"""`ensemble explain RUN [RULE]`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.common import output_option, run_argument, say
from ensemble.cli.remote import explain, on_server, server_options


@click.command("explain")
@run_argument()
@click.argument("rule", default="")
@server_options
@output_option
def command(run_dir: Path, rule: str, server: str, output: str) -> None:
    """Say for each rule of RUN (or one) when and why it fired, or what it waits for."""
    if server:
        on_server(server, lambda client: explain(client, str(run_dir), rule, output))
        return
    from ensemble.journal import read
    from ensemble.model.errors import InputError
    from ensemble.report.history import History
    from ensemble.report.text import explanation
    from ensemble.runtime.opening import fold

    engine, _, _ = fold(run_dir)
    rules = engine.explain(rule)
    if rule and not rules:
        raise InputError(f"run {run_dir.name} has no rule {rule!r}; it has {', '.join(engine.state.rules)}")
    history = History()
    for record in read(run_dir):
        history.add(record)
    data = [{"rule": one, "history": history.lines.get(one.id, [])} for one in rules]
    say(output, explanation(rules, history.lines, engine.status()), data)
