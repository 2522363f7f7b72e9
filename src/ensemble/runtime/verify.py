"""Deciding a run all over again, to prove that its journal says what this engine would say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ensemble.engine import Engine
from ensemble.journal import read
from ensemble.model.decisions import Record
from ensemble.model.errors import JournalError
from ensemble.model.events import RunStarted
from ensemble.spec.model import EnsembleSpec


@dataclass(frozen=True, slots=True)
class Verification:
    """`records` were compared. `difference` is empty when all are the same, else a paragraph about the first."""

    records: int
    difference: str = ""


def verify(run_dir: Path) -> Verification:
    """Decide every record again and report the first difference. Raises `JournalError` and its kin."""
    from ensemble.runtime.opening import algorithms

    engine: Engine | None = None
    count = 0
    for record in read(run_dir):
        if engine is None:
            if not isinstance(record.event, RunStarted):
                raise JournalError(f"{run_dir}: the first record does not start a run")
            engine = Engine(
                msgspec.convert(record.event.spec, EnsembleSpec), run=record.event.run, algorithms=algorithms()
            )
        again = engine.handle(record.event, record.at, record.cause)
        count += 1
        if again.steps != record.steps:
            return Verification(count, _difference(record, again))
    return Verification(count)


def _difference(record: Record, again: Record) -> str:
    def text(one: Record) -> str:
        return msgspec.json.encode(one.steps).decode()

    return (
        f"record {record.seq}, on {msgspec.json.encode(record.event).decode()}: "
        f"the journal decided {text(record)}, this engine decides {text(again)}"
    )
