"""What a simulation comes to: the figures of one run, and their means with intervals over repetitions."""

from __future__ import annotations

__all__ = ["CellFigures", "Estimate", "Figures", "SimulationResult", "estimate", "figures_of", "quantities"]

import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from ensemble.engine import Engine
from ensemble.metrics import student_975
from ensemble.model.jobs import RESULT_COUNTS, Scalar

STATISTICS = ("count", "mean", "std", "min", "median", "p95", "max")
"""What is kept of each quantity of a group."""

COUNTS = ("submitted", *RESULT_COUNTS)


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
    view = engine.view
    cells = [
        CellFigures(cell.group, dict(cell.values), {name: cell.counts[name] for name in COUNTS}, cell.quantities)
        for cell in view.statistics(STATISTICS)
    ]
    return Figures(
        seed=view.seed,
        outcome=outcome or status.outcome or "unfinished",
        reason=reason or status.reason,
        makespan=status.elapsed,
        utilisation=utilisation,
        node_hours=status.node_hours,
        held_node_hours=held_node_hours,
        cost=status.cost,
        events=events,
        counts={name: getattr(status.total, name) for name in COUNTS},
        firings=view.fired(),
        notes=status.notes,
        groups=tuple(cell for cell in cells if not cell.values),
        points=tuple(cell for cell in cells if cell.values),
    )


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
