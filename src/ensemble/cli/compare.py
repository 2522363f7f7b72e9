"""`ensemble compare RUN RUN`."""

from __future__ import annotations

from ensemble.cli.options import output_option, run_argument, runs_options, verb
from ensemble.cli.output import Output
from ensemble.runs import Run, Runs


@verb("compare")
@run_argument("one", None)
@run_argument("other", None)
@runs_options
@output_option
def command(runs: Runs, one: str, other: str, output: Output) -> None:
    """Compare the points of two runs: the means of each quantity, and their ratio."""
    from ensemble.report.text import number, table

    left, right = runs.find(one), runs.find(other)
    first, second = _points(left), _points(right)
    lines, data = [], []
    for label in dict.fromkeys([*first, *second]):
        for name in dict.fromkeys([*first.get(label, {}), *second.get(label, {})]):
            a, b = first.get(label, {}).get(name), second.get(label, {}).get(name)
            ratio = b / a if a and b is not None else None
            lines.append([label, name, number(a), number(b), number(ratio)])
            data.append({"point": label, "quantity": name, left.name: a, right.name: b, "ratio": ratio})
    output.show(table(["point", "quantity", left.name, right.name, "ratio"], lines), data)


def _points(run: Run) -> dict[str, dict[str, float]]:
    """The means of each point, by a label that names its group and parameters."""
    from ensemble.report.text import point_label

    found = {}
    for row in run.results("point"):
        means = {name: value for name, value in row.items() if name.endswith(".mean") and value is not None}
        found[point_label(row)] = means | {"success": row["success"]}
    return found
