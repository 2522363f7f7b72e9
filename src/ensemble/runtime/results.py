"""The rows of a run: one a job or one a point, read from its journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ensemble.engine import Engine
from ensemble.journal import read
from ensemble.model.decisions import Create, Finish, Firing, Held, Retry, Submit
from ensemble.model.events import JobEvent, RunStarted
from ensemble.runtime.opening import fold
from ensemble.spec.model import EnsembleSpec


def rows(run_dir: Path, by: str = "job") -> Iterator[dict[str, Any]]:
    """Yield rows as plain data: for `job` in the order in which jobs ended, for `point` in file order.

    Times are seconds; `duration` is on the member's clock, `pending` on the engine's.
    """
    if by == "point":
        yield from _points(run_dir)
    else:
        yield from _jobs(run_dir)


def _jobs(run_dir: Path) -> Iterator[dict[str, Any]]:
    from msgspec import convert

    points: dict[str, list[dict[str, Any]]] = {}
    spans: dict[str, list[tuple[int, int, int]]] = {}
    running: dict[str, dict[str, Any]] = {}
    for record in read(run_dir):
        event = record.event
        if isinstance(event, RunStarted):
            engine = Engine(convert(event.spec, EnsembleSpec))
            points = {
                name: [dict(point.values) for point in group.points] for name, group in engine.state.groups.items()
            }
        finished: list[str] = []
        if isinstance(event, JobEvent) and event.key in running:
            row = running[event.key]
            if event.attempt == row["attempt"]:
                _note(row, event, record.at)
                if event.state == "inactive" and event.outcome == "success":
                    finished.append(event.key)
        for step in record.steps:
            if isinstance(step, Held):
                continue
            for effect in step.effects:
                if isinstance(effect, Create):
                    span = effect.span
                    if effect.values is not None:
                        points[span.group].append(dict(effect.values))
                    spans.setdefault(span.group, []).append((span.first, span.count, span.point))
                elif isinstance(effect, Submit):
                    for span in effect.spans:
                        for number in range(span.first, span.first + span.count):
                            key = f"{span.group}-{number}"
                            row = running.setdefault(key, _row(key, span.group, points[span.group][span.point]))
                            row.update(attempt=span.attempt, member=effect.member, submitted=record.at)
                elif isinstance(effect, Finish):
                    row = running[effect.key]
                    row.update(outcome=effect.outcome, reason=effect.reason)
                    finished.append(effect.key)
                elif isinstance(effect, Retry) and effect.key in finished:
                    finished.remove(effect.key)
            if isinstance(step, Firing):
                continue
        for key in dict.fromkeys(finished):
            if key in running:
                yield running.pop(key)
    for row in running.values():
        yield {**row, "outcome": "active"}


def _row(key: str, group: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "group": group, **values, "attempt": 1, "member": "", "outcome": "", "reason": ""}


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
    order = list(engine.state.groups)
    for cell in sorted(cells, key=lambda cell: order.index(cell.group)):
        row: dict[str, Any] = {"group": cell.group, **cell.values, "jobs": cell.submitted}
        row |= {name: getattr(cell, name) for name in ("success", "failed", "cancelled", "lost", "failed_attempts")}
        for name, summary in cell.quantities.items():
            row[f"{name}.mean"] = summary.mean
            row[f"{name}.ci95"] = summary.ci95
            row[f"{name}.n"] = summary.count
        row |= cell.derived
        yield row
