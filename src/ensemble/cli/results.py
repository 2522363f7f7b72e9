"""`ensemble results RUN`."""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from typing import Any

import click

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Runs


@verb("results")
@run_argument()
@click.option(
    "--by", type=click.Choice(["job", "point"]), default="job", show_default=True, help="What one row stands for."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default=None,
    help="Format of the rows.  [default: table; with --output json: json]",
)
@click.option("--to", "target", default="", metavar="FILE", help="Write to this file (needed for parquet).")
@runs_options
@output_option
def command(runs: Runs, run: str, by: str, form: str | None, target: str, output: Output) -> None:
    """Print one row for each job or point of RUN: outcome, times and figures of merit.

    Attempt 0 is a job that no member was given. The outcome `active` is a job that is not over.
    """
    found = list(runs.find(run).results(by))
    if target or output.form != "quiet":
        _write(found, form or ("json" if output.form == "json" else "table"), target)


def as_table(found: list[dict[str, Any]]) -> str:
    """Rows as a table for people."""
    from ensemble.report.text import number, table

    def shown(value: Any) -> str:
        return number(value) if isinstance(value, float) else "" if value is None else str(value)

    columns = _columns(found)
    return table(columns, [[shown(row.get(name)) for name in columns] for row in found])


def _columns(found: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in found for name in row if name not in ("submitted", "started")))


def _write(found: list[dict[str, Any]], form: str, target: str) -> None:
    columns = _columns(found)
    if form == "parquet":
        _parquet(found, columns, target)
        return
    with open(target, "w", newline="") if target else nullcontext(sys.stdout) as out:
        if form == "json":
            import json

            for row in found:
                out.write(json.dumps(row) + "\n")
        elif form == "csv":
            writer = csv.DictWriter(out, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(found)
        else:
            out.write(as_table(found) + "\n")


def _parquet(found: list[dict[str, Any]], columns: list[str], target: str) -> None:
    from ensemble.model.errors import InputError

    if not target:
        raise InputError("parquet needs a file: --to FILE")
    try:
        from pyarrow import Table, parquet  # type: ignore[import-not-found]
    except ImportError:
        raise InputError("parquet needs pyarrow: pip install 'ensemble-hpc[parquet]'") from None
    parquet.write_table(Table.from_pylist([{name: row.get(name) for name in columns} for row in found]), target)
