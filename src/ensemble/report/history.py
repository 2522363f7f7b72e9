"""When each rule fired or was held back, and why: a line each."""

from __future__ import annotations

__all__ = ["History"]

from ensemble.model.decisions import Firing, Held, Record
from ensemble.report.text import number, seconds


class History:
    """Made record by record, in their order; `lines` has those of each rule."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self._started: float | None = None

    def add(self, record: Record) -> None:
        """Take in the next record of a run, from its first on."""
        if self._started is None:
            self._started = record.at
        for step in record.steps:
            if isinstance(step, (Firing, Held)):
                at = f"after {seconds(record.at - self._started)} (record {record.seq})"
                self.lines.setdefault(step.rule, []).append(_told(step, at))


def _told(step: Firing | Held, at: str) -> str:
    if isinstance(step, Firing):
        why = ", ".join(f"{name} = {number(value)}" for name, value in step.why.items())
        return f"fired {at}{': ' + why if why else ''}"
    left = f", {step.left} more to skip" if step.by == "backoff" else ""
    return f"matched {at} and was held back by its {step.by}{left}"
