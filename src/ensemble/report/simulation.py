"""A simulation, and its comparison with a recorded run, as text."""

from __future__ import annotations

__all__ = ["comparison", "simulation"]

from collections import Counter
from collections.abc import Sequence

from ensemble.report.text import number, table
from ensemble.simulation.compare import Comparison
from ensemble.simulation.result import SimulationResult

_SHOWN = ("makespan", "utilisation", "node_hours", "held_node_hours", "cost")


def simulation(result: SimulationResult) -> str:
    """Makespan, utilisation, cost, jobs and rule firings; intervals where there are repetitions."""
    several = len(result.runs) > 1
    header = ["quantity", "mean", *(["± 95 %", "least", "greatest"] if several else [])]
    rows = []
    for name, found in result.estimates.items():
        if name not in _SHOWN and not name.startswith(("jobs.", "firings.")):
            continue
        if not found.min and not found.max:
            continue
        spread = [number(found.ci95), number(found.min), number(found.max)] if several else []
        rows.append([name + (" (s)" if name == "makespan" else ""), number(found.mean), *spread])
    outcomes = Counter(f"{run.outcome} ({run.reason})" if run.reason else run.outcome for run in result.runs)
    ended = ", ".join(name if count == len(result.runs) else f"{name} {count}x" for name, count in outcomes.items())
    lines = [table(header, rows), "", *(f"assumed: {text}" for text in result.assumed)]
    events = sum(run.events for run in result.runs)
    lines.append(f"simulated: {ended}; {events} events in {result.seconds:.2f} s")
    return "\n".join(lines)


def comparison(found: Sequence[Comparison], run: str) -> str:
    """Each quantity simulated and recorded; the last column says whether the run lies within them (`--repeat`)."""
    rows = [
        [
            one.quantity,
            number(one.simulated),
            number(one.recorded),
            number(one.ratio),
            # one repetition has no spread that a run could lie within
            "-" if one.ci95 is None else "yes" if one.inside else "no",
        ]
        for one in found
        if one.quantity in _SHOWN or one.quantity.startswith(("jobs.", "firings.", "mean."))
    ]
    return table(["quantity", "simulated", run, "ratio", "within"], rows)
