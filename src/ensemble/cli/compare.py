"""`ensemble compare RUN RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble.cli.common import output_option, run_argument, say


@click.command("compare")
@run_argument("one", None)
@run_argument("other", None)
@output_option
def command(one: Path, other: Path, output: str) -> None:
    """Hold the points of one RUN against those of another."""
    from ensemble.report.text import number, table
    from ensemble.runtime.results import rows

    def points(run_dir: Path) -> dict[str, dict[str, float]]:
        found = {}
        for row in rows(run_dir, "point"):
            axes = [f"{k}={v}" for k, v in row.items() if k in _axes(row)]
            label = f"{row['group']} [{', '.join(axes)}]" if axes else str(row["group"])
            found[label] = {k: v for k, v in row.items() if k.endswith(".mean") and v is not None} | {
                "success": row["success"]
            }
        return found

    first, second = points(one), points(other)
    lines, data = [], []
    for label in dict.fromkeys([*first, *second]):
        for name in dict.fromkeys([*first.get(label, {}), *second.get(label, {})]):
            a, b = first.get(label, {}).get(name), second.get(label, {}).get(name)
            ratio = b / a if a and b is not None else None
            lines.append([label, name, number(a), number(b), number(ratio)])
            data.append({"point": label, "quantity": name, one.name: a, other.name: b, "ratio": ratio})
    say(output, table(["point", "quantity", one.name, other.name, "ratio"], lines), data)


def _axes(row: dict[str, object]) -> list[str]:
    names = list(row)
    return names[1 : names.index("jobs")]
