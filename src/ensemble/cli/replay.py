"""`ensemble replay REF`."""

from __future__ import annotations

import sys

import click

from ensemble.cli.options import output_option, registry_option, verb
from ensemble.cli.output import Output


@verb("replay")
@click.argument("reference", metavar="REF")
@registry_option
@output_option
def command(reference: str, plain_http: bool, output: Output) -> None:
    """Show a saved run without fetching all of it: its results, why its rules fired, and whether its journal verifies.

    REF is HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST. The exit code is 1 where this version decides differently.
    """
    from ensemble.artifacts.fetching import look_at
    from ensemble.cli.results import as_table
    from ensemble.model.wording import counted
    from ensemble.report.history import History
    from ensemble.report.text import explanation

    with look_at(reference, plain_http=plain_http) as (run, found):
        info, rules, history = run.info(), run.explain(), History()
        for record in run.events():
            history.add(record)
        points = list(run.results("point"))
        verified = run.verify()
        parts = [f"{info.name}: {info.outcome}{f', {info.reason}' if info.reason else ''}", f"  from {found.reference}"]
        parts += ["", as_table(points)]
        if rules:
            parts += ["", explanation(rules, history.lines, run.status())]
        said = verified.difference or f"{counted(verified.records, 'record')} decided again: no difference"
        data = {
            "reference": found.reference,
            "annotations": found.annotations,
            "run": info.name,
            "outcome": info.outcome,
            "points": points,
            "rules": [{"rule": one, "history": history.lines.get(one.id, [])} for one in rules],
            "verified": verified,
        }
        output.show("\n".join([*parts, "", said]), data)
    sys.exit(1 if verified.difference else 0)
