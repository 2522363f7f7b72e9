"""`ensemble verify RUN`."""

from __future__ import annotations

import sys

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("verify")
@run_argument()
@runs_options
@output_option
def command(runs: Runs, run: str, output: Output) -> None:
    """Repeat every decision of RUN from its journal and report the first difference."""
    from ensemble.model.wording import counted

    found = runs.find(run).verify()
    text = found.difference or f"{counted(found.records, 'record')} decided again: no difference"
    output.show(text, {"records": found.records, "difference": found.difference})
    sys.exit(1 if found.difference else 0)
