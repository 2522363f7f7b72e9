"""Deciding a run all over again, to prove that its journal says what this engine would say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ensemble import __version__
from ensemble.engine import Engine
from ensemble.journal import read
from ensemble.model.decisions import Call, Effect, End, Held, Note, Record, Step, Upkeep
from ensemble.model.events import RunResumed, RunStarted
from ensemble.runtime.folding import begin

_PROSE: Final[dict[type, dict[str, Any]]] = {
    Note: {"text": ""},
    End: {"reason": ""},
    Call: {"args": {}, "key": ""},
}
"""The fields that only explain an effect to people, with what stands for them in a comparison."""


@dataclass(frozen=True, slots=True)
class Verification:
    """`records` were compared. `difference` is empty when all are the same, else a paragraph about the first."""

    records: int
    difference: str = ""


def verify(run_dir: Path) -> Verification:
    """Decide every record again and report the first difference in a decision; its wording may differ.

    Raises `JournalError` and its kin when the journal cannot be read, `UnknownRun` when it starts no run.
    """
    engine: Engine | None = None
    version = ""
    count = 0
    for record in read(run_dir):
        if engine is None:
            engine, _ = begin(record, run_dir)
        if isinstance(record.event, RunStarted | RunResumed):
            version = record.event.version
        again = engine.handle(record.event, record.at)
        count += 1
        if again.steps != record.steps and _decisions(again) != _decisions(record):
            return Verification(count, _difference(record, again, version))
    return Verification(count)


def _decisions(record: Record) -> list[Step]:
    """The steps of a record without what only explains."""
    return [decided(step) for step in record.steps if not (isinstance(step, Held) and step.by == "ending")]


def decided(step: Step) -> Step:
    """The step without the words that explain it: two steps that decide the same are equal after this."""
    if isinstance(step, Held):
        return step
    effects = tuple(_unworded(effect) for effect in step.effects)
    return Upkeep(effects) if isinstance(step, Upkeep) else replace(step, effects=effects)


def _unworded(effect: Effect) -> Effect:
    prose = _PROSE.get(type(effect))
    return replace(effect, **prose) if prose else effect


def _difference(record: Record, again: Record, version: str) -> str:
    def text(one: Record) -> str:
        return msgspec.json.encode(one.steps).decode()

    other = (
        f"This part of the run was decided by version {version}, and this is {__version__}: docs/journal.md says what "
        "newer versions decide differently. "
        if version != __version__
        else ""
    )
    return (
        f"{other}record {record.seq}, on {msgspec.json.encode(record.event).decode()}: "
        f"the journal decided {text(record)}, this engine decides {text(again)}"
    )
