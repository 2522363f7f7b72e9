"""`ensemble results RUN`."""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from ensemble.cli.common import run_argument
from ensemble.cli.remote import on_server, server_options


@click.command("results")
@run_argument()
@click.option("--by", type=click.Choice(["job", "point"]), default="job", show_default=True)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json", "parquet"]), default="table")
@click.option("--to", "target", default="", help="File to write to (needed for parquet).")
@server_options
def command(run_dir: Path, by: str, form: str, target: str, server: str) -> None:
    """One row a job or a point of RUN: outcome, times, figures of merit.

    Attempt 0 is a job that no member was ever given; `active` one that is not over.
    """
    if server:
        _write(on_server(server, lambda client: client.results(str(run_dir), by)), form, target)
        return
    from ensemble.runtime.results import rows

    _write(list(rows(run_dir, by)), form, target)


def _write(found: list[dict[str, Any]], form: str, target: str) -> None:
    from ensemble.report.text import number, table

    columns = list(dict.fromkeys(name for row in found for name in row if name not in ("submitted", "started")))

    def shown(value: Any) -> str:
        return number(value) if isinstance(value, float) else "" if value is None else str(value)

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
            out.write(table(columns, [[shown(row.get(name)) for name in columns] for row in found]) + "\n")


def _parquet(found: list[dict[str, Any]], columns: list[str], target: str) -> None:
    from ensemble.model.errors import InputError

    if not target:
        raise InputError("parquet needs a file: --to FILE")
    try:
        from pyarrow import Table, parquet  # type: ignore[import-not-found]
    except ImportError:
        raise InputError("parquet needs pyarrow: pip install 'ensemble-hpc[parquet]'") from None
    parquet.write_table(Table.from_pylist([{name: row.get(name) for name in columns} for row in found]), target)
