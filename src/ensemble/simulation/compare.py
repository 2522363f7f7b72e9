"""A simulation held against a recorded run."""

from __future__ import annotations

__all__ = ["Comparison", "compare", "recorded_figures"]

from collections.abc import Iterable, Mapping

from msgspec import Struct, convert

from ensemble.algorithms import BUILTIN
from ensemble.engine import Engine
from ensemble.engine.algorithm import Algorithm
from ensemble.model.decisions import Record
from ensemble.model.errors import InputError
from ensemble.model.events import RunStarted
from ensemble.simulation.result import Figures, SimulationResult, figures_of, quantities
from ensemble.spec.model import EnsembleSpec


class Comparison(Struct, frozen=True):
    """One quantity. `ci95` is of the simulated mean; `ratio` is simulated / recorded (None where recorded is 0).

    `inside`: the recorded value lies within what the repetitions gave (from their least to their greatest).
    """

    quantity: str
    simulated: float
    ci95: float | None
    recorded: float
    ratio: float | None
    inside: bool


def recorded_figures(records: Iterable[Record], algorithms: Mapping[str, Algorithm] = BUILTIN) -> Figures:
    """The figures of a recorded run, from its records. Raises `InputError` when the first does not start a run."""
    engine: Engine | None = None
    events = 0
    for record in records:
        if engine is None:
            if not isinstance(record.event, RunStarted):
                raise InputError("these records do not begin with the start of a run")
            engine = Engine(convert(record.event.spec, EnsembleSpec), run=record.event.run, algorithms=algorithms)
        engine.apply(record)
        events += 1
    if engine is None:
        raise InputError("there are no records to compare with")
    return figures_of(engine, events=events)


def compare(
    result: SimulationResult, records: Iterable[Record], algorithms: Mapping[str, Algorithm] = BUILTIN
) -> list[Comparison]:
    """Every quantity that both have, in the order of the simulation's. Quantities that are 0 in both are left out."""
    recorded = dict(quantities(recorded_figures(records, algorithms)))
    rows = []
    for name, simulated in result.estimates.items():
        if name not in recorded or (not recorded[name] and not simulated.min and not simulated.max):
            continue
        value = recorded[name]
        rows.append(
            Comparison(
                name,
                simulated.mean,
                simulated.ci95,
                value,
                simulated.mean / value if value else None,
                simulated.min <= value <= simulated.max,
            )
        )
    return rows
