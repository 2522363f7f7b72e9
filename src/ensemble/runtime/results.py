"""The rows of a run: one a job or one a point, read from its journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import convert

from ensemble.engine import Engine
from ensemble.journal import read
from ensemble.model.decisions import (
    Cancel,
    Create,
    Discard,
    Drain,
    Effect,
    Finish,
    Held,
    Record,
    Retry,
    Span,
    Submit,
)
from ensemble.model.events import JobEvent, MemberEvent, RunStarted, SubmitAnswered
from ensemble.model.jobs import RESULT_COUNTS, split_key
from ensemble.runtime.folding import fold
from ensemble.spec.model import EnsembleSpec


def rows(run_dir: Path, by: str = "job") -> Iterator[dict[str, Any]]:
    """Yield rows as plain data: for `job` in the order in which jobs ended, for `point` in file order.

    Times are seconds; `duration` is on the member's clock, `pending` on the engine's; both are of the last attempt.
    A job that no member was ever given has `attempt` 0, one that is not over has the outcome `active`.
    """
    if by == "point":
        yield from _points(run_dir)
    else:
        jobs = _Jobs()
        for record in read(run_dir):
            yield from jobs.record(record)
        yield from jobs.rest()


class _Jobs:
    """Takes in the records of a run, and gives the row of each job once it is over."""

    def __init__(self) -> None:
        self._points: dict[str, list[dict[str, Any]]] = {}
        self._created: dict[str, list[Span]] = {}
        self._met: dict[str, bytearray] = {}
        """By group and number: 1 once there is a row for the job."""
        self._open: dict[str, dict[str, Any]] = {}
        """Rows of jobs that are not over."""
        self._between: dict[str, int] = {}
        """Of those, the ones that no member has at present, and the attempt they wait for."""
        self._over: dict[str, None] = {}

    def record(self, record: Record) -> Iterator[dict[str, Any]]:
        """Take in the next record; yield the rows of the jobs that it ended."""
        self._over = {}
        self._event(record)
        for step in record.steps:
            for effect in () if isinstance(step, Held) else step.effects:
                self._effect(effect, record.at)
        for key in self._over:
            if key in self._open:
                self._between.pop(key, None)
                yield self._open.pop(key)

    def rest(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the jobs that are not over."""
        for row in self._open.values():
            yield {**row, "outcome": "active"}
        for group in self._created:
            for key, point in self._waiting(group):
                yield {**self._meet(key, point), "outcome": "active"}

    # ---- events ------------------------------------------------------------------------------------

    def _event(self, record: Record) -> None:
        event = record.event
        if isinstance(event, JobEvent):
            row = self._open.get(event.key)
            if row is not None and event.attempt == row["attempt"] and event.key not in self._between:
                _note(row, event, record.at)
                if event.state == "inactive" and event.outcome == "success":
                    self._over[event.key] = None
        elif isinstance(event, RunStarted):
            engine = Engine(convert(event.spec, EnsembleSpec))
            for group in engine.view.groups():
                self._points[group.name] = [point.values for point in engine.view.points(group.name)]
                self._created[group.name] = []
                self._met[group.name] = bytearray()
        elif isinstance(event, SubmitAnswered):
            for key, attempt, why, transient in event.refused:
                row = self._open.get(key)
                if row is not None and row["attempt"] == attempt and not transient:
                    row["text"] = why
        elif isinstance(event, MemberEvent):
            self._take_back(event.unsent)

    def _take_back(self, refs: tuple[tuple[str, int], ...]) -> None:
        """Attempts that their member never had; what has been seen running is lost instead, which is decided on."""
        for key, attempt in refs:
            row = self._open.get(key)
            if row is not None and row["attempt"] == attempt and not row["outcome"] and "started" not in row:
                self._between[key] = attempt

    # ---- effects -----------------------------------------------------------------------------------

    def _effect(self, effect: Effect, at: float) -> None:
        if isinstance(effect, Create):
            if effect.values is not None:
                self._points[effect.span.group].append(dict(effect.values))
            self._created[effect.span.group].append(effect.span)
            self._met[effect.span.group].extend(bytes(effect.span.count))
        elif isinstance(effect, Submit):
            for span in effect.spans:
                for number in range(span.first, span.first + span.count):
                    self._submit(span, number, effect.member, at)
        elif isinstance(effect, Finish):
            self._end(effect.key, effect.outcome, effect.reason)
        elif isinstance(effect, Retry):
            self._between[effect.key] = effect.attempt
            self._over.pop(effect.key, None)
        elif isinstance(effect, Discard):
            self._discard(effect.group, effect.point, effect.outcome, effect.reason)
        elif isinstance(effect, Drain) and effect.drop:
            for group in self._created:
                self._discard(group, -1, "cancelled", effect.reason)
            for key in self._between:
                self._end(key, "cancelled", effect.reason)
        elif isinstance(effect, Cancel):
            for key, attempt in effect.refs:
                self._cancel(key, attempt, effect.reason)

    def _submit(self, span: Span, number: int, member: str, at: float) -> None:
        key = f"{span.group}-{number}"
        self._between.pop(key, None)
        row = self._open.get(key)
        if row is None:
            row = self._meet(key, span.point)
        else:
            # nothing of an earlier attempt is told of this one
            row.clear()
            row.update(_row(key, span.group, self._points[span.group][span.point]))
        row.update(attempt=span.attempt, member=member, submitted=at)

    def _end(self, key: str, outcome: str, reason: str) -> None:
        self._open[key].update(outcome=outcome, reason=reason)
        self._over[key] = None

    def _cancel(self, key: str, attempt: int, reason: str) -> None:
        """What no member has is over at once; for the rest its own end comes."""
        if key in self._open:
            if self._between.get(key) == attempt:
                self._end(key, "cancelled", reason)
            return
        group, number = split_key(key)
        met = self._met.get(group, b"")
        if 0 <= number < len(met) and not met[number]:
            spans = self._created[group]
            self._meet(key, next(one.point for one in spans if one.first <= number < one.first + one.count))
            self._end(key, "cancelled", reason)

    def _discard(self, group: str, point: int, outcome: str, reason: str) -> None:
        for key, its_point in self._waiting(group, point):
            self._meet(key, its_point)
            self._end(key, outcome, reason)

    def _waiting(self, group: str, point: int = -1) -> Iterator[tuple[str, int]]:
        """Jobs that no member was ever given, with their points."""
        met = self._met[group]
        for span in self._created[group]:
            if point in (-1, span.point):
                for number in range(span.first, span.first + span.count):
                    if not met[number]:
                        yield f"{group}-{number}", span.point

    def _meet(self, key: str, point: int) -> dict[str, Any]:
        """Make the row of a job."""
        group, number = split_key(key)
        self._met[group][number] = 1
        row = self._open[key] = _row(key, group, self._points[group][point])
        return row


def _row(key: str, group: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "group": group, **values, "attempt": 0, "member": "", "outcome": "", "reason": ""}


def _note(row: dict[str, Any], event: JobEvent, at: float) -> None:
    if event.hosts:
        row["hosts"] = event.hosts
    if event.state == "run":
        row["started"] = event.time
        row["pending"] = at - row["submitted"]
    elif event.state == "inactive":
        row["outcome"], row["reason"] = event.outcome, event.reason
        row["exit_code"], row["signal"] = event.exit_code, event.signal
        start = event.start or row.get("started", 0.0)
        if start:
            row["duration"] = max(0.0, event.time - start)
        row.update(event.figures or {})
        if event.text:
            row["text"] = event.text


def _points(run_dir: Path) -> Iterator[dict[str, Any]]:
    engine, _, _ = fold(run_dir)
    status = engine.status()
    split = {cell.group for cell in status.points}
    cells = [cell for cell in status.groups if cell.group not in split] + list(status.points)
    order = [group.name for group in engine.view.groups()]
    for cell in sorted(cells, key=lambda cell: order.index(cell.group)):
        row: dict[str, Any] = {"group": cell.group, **cell.values, "jobs": cell.submitted}
        row |= {name: getattr(cell, name) for name in RESULT_COUNTS}
        for name, summary in cell.quantities.items():
            row[f"{name}.mean"] = summary.mean
            row[f"{name}.ci95"] = summary.ci95
            row[f"{name}.n"] = summary.count
        row |= cell.derived
        yield row
