"""What a recorded run says about how long its jobs take: the model that `ensemble simulate` is calibrated with."""

from __future__ import annotations

__all__ = ["Recording"]

from collections.abc import Iterable, Mapping

from ensemble.model.decisions import Create, Held, Record, Span, Submit
from ensemble.model.events import JobEvent, RunStarted
from ensemble.model.jobs import Scalar
from ensemble.simulation.model import Recorded, Sample

Values = tuple[tuple[str, Scalar], ...]

_OF_THE_RUN = ("cancelled", "infrastructure", "duplicate", "refused", "later")
"""Reasons that say nothing about the job itself."""

_LONGER = 1.0
"""A job that ran into its walltime would have taken longer: so many seconds, at least."""


class _Attempts:
    __slots__ = ("failures", "samples")

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.failures: dict[str, list[float]] = {}


class Recording:
    """Attempts by group and point."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Read the records of a run, from its first on."""
        self._points: dict[str, list[Values]] = {}
        self._known: dict[tuple[str, Values], _Attempts] = {}
        self._open: dict[str, tuple[int, str, int, float]] = {}
        """By key: attempt, group, point, start."""
        for record in records:
            event = record.event
            if isinstance(event, JobEvent):
                self._job(event)
            elif isinstance(event, RunStarted):
                self._begin(event)
            for step in record.steps:
                if isinstance(step, Held):
                    continue
                for effect in step.effects:
                    if isinstance(effect, Create) and effect.values is not None:
                        self._points[effect.span.group].append(tuple(effect.values.items()))
                    elif isinstance(effect, Submit):
                        for span in effect.spans:
                            self._submitted(span)
        self._open.clear()
        self._by_group: dict[str, _Attempts] = {}
        for (group, _), attempts in self._known.items():
            whole = self._by_group.setdefault(group, _Attempts())
            whole.samples += attempts.samples
            for reason, times in attempts.failures.items():
                whole.failures.setdefault(reason, []).extend(times)

    def find(self, group: str, values: Mapping[str, Scalar]) -> Recorded | None:
        """What is known of a point; of a group without that point but with the same axes nothing is assumed.

        A group without axes is known by its name.
        """
        found = self._known.get((group, tuple(values.items())))
        if found is None and not values:
            found = self._by_group.get(group)
        return Recorded(found.samples, found.failures) if found is not None else None

    def groups(self) -> list[str]:
        """The groups of which something is known."""
        return list(self._by_group)

    def figures(self, group: str) -> tuple[str, ...]:
        """The figures of merit that its jobs have."""
        attempts = self._by_group.get(group)
        return tuple(dict.fromkeys(name for one in attempts.samples for name in one.figures)) if attempts else ()

    def _begin(self, event: RunStarted) -> None:
        for group in event.spec.get("jobs", ()):
            points = self._points.setdefault(group["name"], [])
            points += [tuple(values.items()) for values in group.get("points", ({},))]

    def _submitted(self, span: Span) -> None:
        for number in range(span.first, span.first + span.count):
            self._open[f"{span.group}-{number}"] = (span.attempt, span.group, span.point, 0.0)

    def _job(self, event: JobEvent) -> None:
        attempt, group, point, start = self._open.get(event.key, (0, "", 0, 0.0))
        if attempt != event.attempt:
            return
        if event.state == "run":
            self._open[event.key] = (attempt, group, point, event.start or event.time)
        elif event.state == "inactive":
            del self._open[event.key]
            start = event.start or start
            if start and event.reason not in _OF_THE_RUN and event.outcome in ("success", "failed"):
                self._over(event, (group, self._points[group][point]), max(0.0, event.time - start))

    def _over(self, event: JobEvent, place: tuple[str, Values], seconds: float) -> None:
        attempts = self._known.setdefault(place, _Attempts())
        if event.outcome == "success":
            attempts.samples.append(Sample(seconds, dict(event.figures or {})))
        elif event.reason == "walltime":
            attempts.samples.append(Sample(seconds + _LONGER, {}))
        else:
            attempts.failures.setdefault(event.reason or "exit", []).append(seconds)
