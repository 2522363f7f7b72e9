"""What `select-fastest-runtime` and `select-longest-runtime` share: choose the next job by how long such jobs take.

Decisions are made as late as possible, with all that is known by then: only `ahead` jobs wait in the queue, and
whenever one of them starts another is chosen. So the members are kept busy without anybody knowing their size.

The model is one streaming statistic of `duration` for each group (or point). Until each that has jobs left has seen
`minimum` durations, the choice is fair: those that lack data take turns, the one with the fewest jobs submitted first.
"""

from __future__ import annotations

__all__ = ["RuntimeOptions", "RuntimeSelection"]

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ensemble.algorithms.packaged import Packaged, Settings, Step, Turn, chosen, on
from ensemble.algorithms.slots import Slot, metric, slots, submit, total, whole
from ensemble.engine.algorithm import Outcome, View
from ensemble.spec.model import ActionSpec, RuleSpec


class RuntimeOptions(Settings, frozen=True, kw_only=True, rename="camel"):
    """Options of both."""

    by: Literal["group", "point"] = "group"
    minimum: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    statistic: Literal["mean", "median", "ewma"] = "mean"
    ahead: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    at_once: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class RuntimeSelection(Packaged[RuntimeOptions]):
    """Choose the next job by its expected duration."""

    settings = RuntimeOptions
    sign: ClassVar[float]
    """1: the shortest first, -1: the longest."""

    def plan(self, options: RuntimeOptions, view: View) -> Sequence[RuleSpec]:
        """At the start, whenever the queue runs low and whenever there is room below the ceiling."""
        rules = [
            on("start", "next", repetitions=1),
            on("metric", "next", rule="queue", name="count.*.pending", when=f"< {options.ahead}"),
        ]
        if options.at_once:
            rules.append(on("metric", "next", rule="room", name="count.*.active", when=f"< {options.at_once}"))
        return rules

    def steps(self) -> Mapping[str, Step[RuntimeOptions]]:
        """`next`."""
        return {"next": self._next}

    def _next(self, options: RuntimeOptions, turn: Turn) -> Outcome:
        memory, view = turn.memory, turn.view
        groups = view.groups()
        room = options.ahead - total(group.pending for group in groups)
        if options.at_once:
            room = min(room, options.at_once - total(group.active for group in groups))
        if room <= 0:
            return Outcome()
        candidates = [
            _Candidate(options, view, slot, bool(group.axes))
            for group in chosen(view, options)
            for slot in (slots(view, group) if options.by == "point" else [whole(view, group)])
            if slot.left
        ]
        actions = []
        while room > 0 and (candidate := self._choose(candidates)) is not None:
            action = candidate.take(view, memory)
            if action is not None:
                actions.append(action)
                room -= candidate.slot.entries
        return Outcome(tuple(actions), memory)

    def _choose(self, candidates: list[_Candidate]) -> _Candidate | None:
        ready = [candidate for candidate in candidates if candidate.left > 0]
        if not ready:
            return None
        unknown = [candidate for candidate in ready if candidate.estimate is None]
        if unknown:
            return min(unknown, key=lambda candidate: candidate.submitted)
        return min(ready, key=lambda candidate: self.sign * (candidate.estimate or 0.0))


class _Candidate:
    """A slot, counting what the present step has taken of it already."""

    __slots__ = ("axes", "estimate", "given", "left", "slot", "submitted")

    def __init__(self, options: RuntimeOptions, view: View, slot: Slot, axes: bool) -> None:
        self.slot = slot
        self.axes = axes
        """Whether the slot is a whole group of several points."""
        self.given = 0
        """Taken, in this step, of the point the group has come to."""
        self.left = slot.left
        self.submitted = slot.submitted
        seen = metric(view, "count", slot, "duration") or 0.0
        self.estimate = metric(view, options.statistic, slot, "duration") if seen >= options.minimum else None
        """Expected duration in seconds; None while there is not enough data."""

    def take(self, view: View, memory: dict[str, Any]) -> ActionSpec | None:
        """Submit one job: of the point that this slot is, or of the group's first point that has one left."""
        self.left -= self.slot.entries
        self.submitted += self.slot.entries
        if self.slot.values is not None or not self.axes:
            return submit(self.slot, 1)
        points = view.points(self.slot.group)
        place = memory.get("next", {}).get(self.slot.group, 0)
        while place < len(points) and points[place].submitted + self.given >= points[place].count:
            place += 1
            self.given = 0
        memory["next"] = {**memory.get("next", {}), self.slot.group: place}
        if place == len(points):
            self.left = 0  # somebody else has submitted more of some points than the file says
            return None
        self.given += 1
        return ActionSpec(name="submit", label=self.slot.group, value=1, points=(dict(points[place].values),))
