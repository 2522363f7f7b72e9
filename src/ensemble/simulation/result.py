"""What a simulation comes to: the figures of one run, and their means with intervals over repetitions."""

from __future__ import annotations

__all__ = ["CellFigures", "Estimate", "Figures", "SimulationResult", "estimate", "figures_of", "quantities"]

import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from ensemble.engine import Engine
from ensemble.engine.state import Cell
from ensemble.metrics import student_975
from ensemble.model.jobs import Scalar

STATISTICS = ("count", "mean", "std", "min", "median", "p95", "max")
"""What is kept of each quantity of a group."""

COUNTS = ("submitted", "success", "failed", "cancelled", "lost", "failed_attempts")


class CellFigures(Struct, frozen=True):
    """A group (`values` empty) or one of its points: counts of jobs, and statistics by quantity.

    `duration` and `pending` are seconds, `node_hours` node-hours; the others are figures of merit.
    """

    group: str
    values: dict[str, Scalar]
    counts: dict[str, int]
    quantities: dict[str, dict[str, float]]

    @property
    def name(self) -> str:
        """As in a metric path: `melt[T=1.1]`."""
        inside = ",".join(f"{axis}={value}" for axis, value in self.values.items())
        return f"{self.group}[{inside}]" if inside else self.group


class Figures(Struct, frozen=True):
    """One run, simulated or recorded.

    `outcome` is that of a run, or `stuck` (nothing more can happen; `reason` says why) or `endless`. `makespan` is
    seconds from start to end, `utilisation` the part of the cores' time in which a job held them (-1: not known, as of
    a recorded run), `node_hours` what jobs used and `held_node_hours` what was up (-1: not known); `cost` is in the
    members' currency. `firings` counts by rule.
    """

    seed: int
    outcome: str
    reason: str
    makespan: float
    utilisation: float
    node_hours: float
    held_node_hours: float
    cost: float
    events: int
    counts: dict[str, int]
    firings: dict[str, int]
    notes: dict[str, int]
    groups: tuple[CellFigures, ...]
    points: tuple[CellFigures, ...]


class Estimate(Struct, frozen=True):
    """A quantity over repetitions; `ci95` is half the width of the 95 % interval of the mean (None for one)."""

    count: int
    mean: float
    ci95: float | None
    min: float
    max: float


class SimulationResult(Struct, frozen=True):
    """All repetitions. `assumed` says what was taken where the file says nothing; `seconds` is real time."""

    runs: tuple[Figures, ...]
    estimates: dict[str, Estimate]
    assumed: tuple[str, ...]
    seconds: float


def figures_of(
    engine: Engine,
    *,
    events: int,
    outcome: str = "",
    reason: str = "",
    utilisation: float = -1.0,
    held_node_hours: float = -1.0,
) -> Figures:
    """The figures of a run as its engine stands."""
    status = engine.status()
    state = engine.state
    return Figures(
        seed=state.seed,
        outcome=outcome or status.outcome or "unfinished",
        reason=reason or status.reason,
        makespan=status.elapsed,
        utilisation=utilisation,
        node_hours=status.node_hours,
        held_node_hours=held_node_hours,
        cost=status.cost,
        events=events,
        counts=_counts(state.total),
        firings={rule.id: rule.fired for rule in state.rules.values()},
        notes=dict(state.notes),
        groups=tuple(_cell(group.whole, {}, state.now) for group in state.groups.values()),
        points=tuple(
            _cell(group.cells[tuple(point.values.items())], point.values, state.now)
            for group in state.groups.values()
            if len(group.points) > 1
            for point in group.points
            if point.values
        ),
    )


def _counts(cell: Cell) -> dict[str, int]:
    return {name: getattr(cell, name) for name in COUNTS}


def _cell(cell: Cell, values: dict[str, Scalar], now: float) -> CellFigures:
    found: dict[str, dict[str, float]] = {}
    for name, series in cell.series.items():
        stats = {what: value for what in STATISTICS if (value := series.stat(what)) is not None}
        if stats.get("count"):
            found[name] = stats
    waits = {what: value for what in STATISTICS if (value := cell.waits.stat(what, now)) is not None}
    if waits.get("count"):
        found["pending"] = waits
    return CellFigures(cell.group, dict(values), _counts(cell), found)


def quantities(figures: Figures) -> Iterator[tuple[str, float]]:
    """Every number of a run that can be averaged or compared, by name; times in seconds."""
    yield "makespan", figures.makespan
    if figures.utilisation >= 0:
        yield "utilisation", figures.utilisation
    yield "node_hours", figures.node_hours
    if figures.held_node_hours >= 0:
        yield "held_node_hours", figures.held_node_hours
    yield "cost", figures.cost
    for name, count in figures.counts.items():
        yield f"jobs.{name}", float(count)
    for rule, count in figures.firings.items():
        yield f"firings.{rule}", float(count)
    # where a group has points, they say more than the whole, which follows the mix of points
    for cell in (*figures.groups, *figures.points):
        for name, count in cell.counts.items():
            yield f"count.{cell.name}.{name}", float(count)
        for quantity, stats in cell.quantities.items():
            for statistic, value in stats.items():
                if statistic != "count":
                    yield f"{statistic}.{cell.name}.{quantity}", value


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval (Student's t) of values of which there is at least one."""
    count = len(values)
    mean = math.fsum(values) / count
    half = None
    if count > 1:
        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
        half = student_975(count - 1) * math.sqrt(variance / count)
    return Estimate(count, mean, half, min(values), max(values))


def estimates(runs: Sequence[Figures]) -> dict[str, Estimate]:
    """Every quantity over the runs; one that some runs lack is over those that have it."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, value in quantities(run):
            found.setdefault(name, []).append(value)
    return {name: estimate(values) for name, values in found.items()}
