"""Patterns and planned experiments as text."""

from __future__ import annotations

__all__ = ["figures_line", "pattern_details", "pattern_table"]

from collections.abc import Sequence

from ensemble.model.wording import counted
from ensemble.report.text import number, seconds, table
from ensemble.studies.patterns import Pattern, Patterns
from ensemble.studies.planning.experiment import Figures


def pattern_table(patterns: Patterns) -> str:
    """A line for each pattern: its model, residual and range; then why others could not be fitted."""
    rows = [
        [
            one.cell,
            one.problem,
            one.size or _span(one.sizes),
            _span(one.tasks),
            str(one.runs),
            one.model.law,
            f"{one.model.residual:.1%}" if one.model.freedom > 0 else "-",
            ", ".join(f"{count} {reason}" for reason, count in one.left_out.items()) or "-",
        ]
        for one in patterns.patterns
    ]
    header = ["cell", "problem", "size", "tasks", "runs", "model", "residual", "left out"]
    lines = [table(header, rows)] if rows else []
    return "\n".join([*lines, *(f"{name}: not fitted: {why}" for name, why in patterns.refused.items())])


def _span(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g}-{values[-1]:g}"


def pattern_details(pattern: Pattern) -> str:
    """The terms of a model, and what it expects at each measured number of tasks and size."""
    rows = []
    for size in pattern.sizes or (None,):
        for tasks in pattern.tasks:
            found = pattern.predict(tasks, size)
            share = "not observed" if found.mpi_share is None else f"{found.mpi_share:.1%}"
            interval = f"{found.low:.4g} to {found.high:.4g}" if pattern.model.freedom > 0 else "-"
            label = pattern.size or ("-" if size is None else f"{size:g}")
            rows.append([label, str(tasks), f"{found.seconds:.4g}", interval, share])
    terms = ", ".join(f"{name} {number(value)}" for name, value in pattern.model.coefficients.items() if value)
    grows = f" (s; the work is size^{pattern.power})" if len(pattern.sizes) > 1 else " (s)"
    hookup = f"hook-up {seconds(pattern.hookup)}"
    return "\n".join(
        [
            f"{pattern.name}: {pattern.model.law} of {counted(pattern.runs, 'run')}: {terms}{grows}; {hookup}",
            table(["size", "tasks", "seconds", "95 % of runs", "MPI"], rows),
        ]
    )


def figures_line(figures: Figures) -> str:
    """What a planned experiment comes to."""
    return (
        f"{counted(figures.jobs, 'job')}, makespan {seconds(figures.makespan)}, "
        f"{number(figures.core_hours)} core-hours, {figures.mpi:.1%} of the time in MPI"
    )
