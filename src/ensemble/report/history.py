"""When each rule fired or was held back, and why: a line each."""

from __future__ import annotations

__all__ = ["History"]

from ensemble.model.decisions import Call, Firing, Held, Note, Record
from ensemble.model.events import FunctionReturned
from ensemble.report.describe import values
from ensemble.report.text import seconds


class History:
    """Made record by record, in their order; `lines` has those of each rule."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self._started: float | None = None
        self._calls: dict[int, str] = {}
        """Which rule waits for the answer of which call."""

    def add(self, record: Record) -> None:
        """Take in the next record of a run, from its first on."""
        if self._started is None:
            self._started = record.at
        event = record.event
        at = f"after {seconds(record.at - self._started)} (record {record.seq})"
        if isinstance(event, FunctionReturned):
            rule = self._calls.pop(event.command, "")
            if rule and event.error:
                self._say(rule, f"its function failed {at}: function-{event.fault or 'raised'}: {event.error}")
        for step in record.steps:
            if isinstance(step, Firing):
                self._say(step.rule, _fired(step, at))
            elif isinstance(step, Held):
                self._say(step.rule, _held(step, at, self._started))
            for effect in getattr(step, "effects", ()):
                if isinstance(effect, Call):
                    self._calls[effect.id] = effect.rule

    def _say(self, rule: str, line: str) -> None:
        self.lines.setdefault(rule, []).append(line)


def _fired(step: Firing, at: str) -> str:
    why = values(step.why)
    notes = "".join(f"; {effect.name}: {effect.text}" for effect in step.effects if isinstance(effect, Note))
    return f"fired {at}{': ' + why if why else ''}{notes}"


def _held(step: Held, at: str, started: float) -> str:
    if step.by == "ending":
        return f"matched {at}, when the run was ending and nothing new was started any more"
    if step.by == "cooldown":
        return f"matched {at} and was held back by its cooldown until {seconds(max(0.0, step.until - started))}"
    left = "the next match fires" if not step.left else f"{step.left} more to skip"
    return f"matched {at} and was held back by its backoff, {left}"
