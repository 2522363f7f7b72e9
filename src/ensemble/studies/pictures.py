"""Pictures of a study as SVG, by matplotlib: scaling, MPI by call, figures of merit, hook-up times, jobs in time."""

from __future__ import annotations

__all__ = ["figures_of_merit", "gantt", "hookup_times", "mpi_by_call", "strong_scaling"]

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ensemble.model.errors import InputError
from ensemble.studies.measuring.measurement import Measurement
from ensemble.studies.patterns import Pattern

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999")
"""Colours that people with a colour vision deficiency can tell apart (Okabe and Ito, 2008)."""

_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ensemble",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_CALLS: Final = 6
"""MPI calls that have a colour each; the rest is drawn as one."""


def strong_scaling(pattern: Pattern, measured: Sequence[Measurement]) -> str:
    """Wall time by tasks, for each size: the runs, the model, and the band in which 95 % of runs are expected."""
    with _picture() as picture:
        axes = picture.axes("tasks", "wall time (s)")
        span = range(pattern.tasks[0], pattern.tasks[-1] + 1)
        for size, colour in zip(pattern.sizes or (None,), _colours(len(pattern.sizes)), strict=False):
            found = [pattern.predict(tasks, size) for tasks in span]
            label = pattern.size or ("" if size is None else f"size {size:g}")
            axes.plot(span, [one.seconds for one in found], color=colour, label=label)
            axes.fill_between(span, [one.low for one in found], [one.high for one in found], color=colour, alpha=0.15)
            for kept, marker in ((True, "o"), (False, "x")):
                runs = [one for one in measured if one.usable == kept and (size is None or float(one.size) == size)]
                axes.scatter([one.tasks for one in runs], [one.wall for one in runs], color=colour, marker=marker)
        axes.set_ylim(bottom=0)
        axes.set_xticks(pattern.tasks)
        _legend(axes)
        return picture.svg()


def mpi_by_call(measured: Sequence[Measurement]) -> str:
    """The share of time in MPI by tasks, split by call in proportion to the seconds in each."""
    by_tasks: dict[int, list[Measurement]] = {}
    for one in measured:
        if one.mpi_share is not None:
            by_tasks.setdefault(one.tasks, []).append(one)
    shares: dict[str, dict[int, float]] = {}
    for tasks, runs in by_tasks.items():
        for one in runs:
            seconds = sum(call.seconds for call in one.mpi_calls) or 1.0
            for call in one.mpi_calls:
                part = (one.mpi_share or 0.0) * call.seconds / seconds / len(runs)
                mine = shares.setdefault(call.call, {})
                mine[tasks] = mine.get(tasks, 0.0) + part
    order = sorted(shares, key=lambda name: -sum(shares[name].values()))
    rest: dict[int, float] = {}
    for name in order[_CALLS:]:
        for tasks, part in shares[name].items():
            rest[tasks] = rest.get(tasks, 0.0) + part
    parts = {name: shares[name] for name in order[:_CALLS]} | ({"others": rest} if rest else {})
    return _stacked(parts, sorted(by_tasks))


def _stacked(parts: Mapping[str, Mapping[int, float]], tasks: Sequence[int]) -> str:
    with _picture() as picture:
        axes = picture.axes("tasks", "time in MPI (%)")
        base = [0.0] * len(tasks)
        places = range(len(tasks))
        for (call, by_tasks), colour in zip(parts.items(), _colours(len(parts)), strict=False):
            heights = [100 * by_tasks.get(count, 0.0) for count in tasks]
            axes.bar(places, heights, 0.6, bottom=base, color=colour, label=call)
            base = [below + height for below, height in zip(base, heights, strict=True)]
        axes.set_xticks(places, [str(count) for count in tasks])
        _legend(axes)
        return picture.svg()


def figures_of_merit(by_environment: Mapping[str, Sequence[float]], unit: str) -> str:
    """The figure of merit by environment: each run, and their mean."""
    return _spread(by_environment, unit)


def hookup_times(by_cell: Mapping[str, Sequence[float]]) -> str:
    """What launchers add to the time of applications, by cell: each run, and their mean."""
    return _spread(by_cell, "hook-up (s)")


def _spread(values: Mapping[str, Sequence[float]], label: str) -> str:
    with _picture(height=0.9 + 0.45 * len(values)) as picture:
        axes = picture.axes(label, "")
        for place, (numbers, colour) in enumerate(zip(values.values(), _colours(len(values)), strict=False)):
            axes.barh(place, sum(numbers) / len(numbers), 0.6, color=colour, alpha=0.4)
            axes.scatter(numbers, [place] * len(numbers), color=colour, s=14)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        return picture.svg()


def gantt(rows: Sequence[Mapping[str, Any]]) -> str:
    """The jobs of a run in time: rows of its results, in the lanes that they need, a colour for each group."""
    ran = sorted((row for row in rows if row.get("started") and "duration" in row), key=lambda row: row["started"])
    if not ran:
        raise InputError("no job of this run has begun, so there is nothing to draw")
    start = ran[0]["started"]
    groups = list(dict.fromkeys(str(row["group"]) for row in ran))
    colours = dict(zip(groups, _colours(len(groups)), strict=False))
    lanes: list[float] = []
    bars: dict[str, list[tuple[int, float, float]]] = {group: [] for group in groups}
    for row in ran:
        begins, ends = row["started"] - start, row["started"] - start + row["duration"]
        lane = next((place for place, free in enumerate(lanes) if free <= begins + 1e-6), len(lanes))
        lanes[lane : lane + 1] = [ends]
        bars[str(row["group"])].append((lane, begins, row["duration"]))
    with _picture(height=0.9 + min(6.0, 0.25 * len(lanes))) as picture:
        from matplotlib.ticker import MaxNLocator

        axes = picture.axes("time (s)", "jobs at a time")
        for group, some in bars.items():
            axes.barh(
                [lane + 1 for lane, _, _ in some],
                [length for _, _, length in some],
                left=[begins for _, begins, _ in some],
                height=0.8,
                color=colours[group],
                edgecolor="white",
                linewidth=0.4,
                label=group,
            )
        axes.set_ylim(0.4, len(lanes) + 0.6)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(axes)
        return picture.svg()


# ---- drawing -------------------------------------------------------------------------------------------


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(max(1, count))]


def _legend(axes: Axes) -> None:
    if any(axes.get_legend_handles_labels()[1]):
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


class _picture:  # noqa: N801 - used like a function
    """One picture with one pair of axes; a context manager. Raises `InputError` without matplotlib."""

    def __init__(self, height: float = 3.2) -> None:
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ImportError:
            raise InputError("pictures need matplotlib; install it with: pip install 'ensemble-hpc[studies]'") from None
        self._style = mpl.rc_context(_STYLE)
        self._make = Figure
        self._height = height
        self._figure: Figure | None = None

    def __enter__(self) -> _picture:
        self._style.__enter__()
        self._figure = self._make(figsize=(7.0, self._height), layout="constrained")
        return self

    def __exit__(self, *_: object) -> None:
        self._style.__exit__(None, None, None)

    def axes(self, horizontal: str, vertical: str) -> Axes:
        """The axes, with their labels."""
        assert self._figure is not None
        axes = self._figure.subplots()
        axes.set_xlabel(horizontal)
        axes.set_ylabel(vertical)
        return axes

    def svg(self) -> str:
        """The picture as an element of a page."""
        assert self._figure is not None
        target = io.StringIO()
        self._figure.savefig(target, format="svg", metadata={"Date": None})
        text = target.getvalue()
        return text[text.index("<svg") :]
