"""The report of a study: one page of HTML that needs nothing else."""

from __future__ import annotations

__all__ = ["study_page"]

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from ensemble.model.wording import counted
from ensemble.studies.measuring.measurement import Measurement
from ensemble.studies.patterns import Pattern, Patterns
from ensemble.studies.pictures import figures_of_merit, gantt, hookup_times, mpi_by_call, strong_scaling
from ensemble.studies.showing import pattern_details, pattern_table

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
pre { overflow-x: auto; background: #f6f6f6; padding: 0.7rem; font-size: 13px; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; } figcaption { color: #555; font-size: 14px; }
"""


def study_page(
    name: str,
    measured: Sequence[Measurement],
    patterns: Patterns | None,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """The page of a study: its patterns with their pictures, figures of merit, hook-up times, and runs by name.

    `runs` are rows of results by job. Raises `InputError` where matplotlib is missing.
    """
    usable = [one for one in measured if one.usable]
    lead = (
        f"<p>{counted(len(measured), 'measurement')}, of which {len(usable)} are valid and undisturbed; "
        f"{counted(len({one.cell for one in measured}), 'cell')}.</p>"
    )
    parts = [f"<h1>{escape(name)}</h1>", lead]
    if patterns is not None:
        parts += ["<h2>Patterns</h2>", _pre(pattern_table(patterns))]
        for pattern in patterns.patterns:
            parts += _pattern(pattern, [one for one in measured if _belongs(one, pattern)])
    parts += _merits(usable)
    hookups = _grouped((one.cell, one.hookup) for one in usable)
    if hookups:
        caption = "What the launcher adds to the time of the application: each run, and the mean."
        parts += ["<h2>Hook-up time</h2>", _figure(hookup_times(hookups), caption)]
    for run, rows in runs.items():
        parts += [f"<h2>Run {escape(run)}</h2>", _figure(gantt(rows), "Its jobs in time, in the order of their start.")]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{escape(name)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _belongs(one: Measurement, pattern: Pattern) -> bool:
    same = (one.cell, one.problem, one.nodes) == (pattern.cell, pattern.problem, pattern.nodes)
    return same and (not pattern.size or one.size == pattern.size)


def _pattern(pattern: Pattern, runs: Sequence[Measurement]) -> list[str]:
    scaling = "The runs (crosses: disturbed or invalid), the model, and the band of 95 % of runs."
    parts = [
        f"<h3>{escape(pattern.name)}</h3>",
        _pre(pattern_details(pattern)),
        _figure(strong_scaling(pattern, runs), scaling),
    ]
    if pattern.shares:
        parts.append(_figure(mpi_by_call([one for one in runs if one.usable]), "The share of time in MPI, by call."))
    else:
        parts.append("<p>MPI was not observed.</p>")
    return parts


def _merits(usable: Sequence[Measurement]) -> list[str]:
    """Figures of merit of each application, problem, size and number of tasks, by cell and environment."""
    parts: list[str] = []
    kinds: dict[tuple[str, ...], list[Measurement]] = {}
    for one in usable:
        if one.fom is not None:
            application = one.cell.partition("/")[0]
            title = f"{application} {one.problem} {one.size}".rstrip() + f", {counted(one.tasks, 'task')}"
            kinds.setdefault((title, f"{one.fom.name} ({one.fom.unit})"), []).append(one)
    for (title, unit), runs in sorted(kinds.items()):
        values = _grouped((_environment(one), one.fom.value) for one in runs if one.fom is not None)
        parts.append(_figure(figures_of_merit(values, unit), title))
    return ["<h2>Figures of merit</h2>", *parts] if parts else []


def _environment(one: Measurement) -> str:
    """Where a run was: its cell, and the name of its environment if it has one."""
    name = one.environment.get("name", "")
    return f"{one.cell} {name}".rstrip()


def _grouped(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
