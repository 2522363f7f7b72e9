"""What an algorithm is to the engine: a source of rules, and pure steps that those rules call inline.

An algorithm never sees the engine's state itself, only a `View`; what it wants to remember travels
through the journal as a `Remember` effect, so that a resumed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol

from ensemble.model.jobs import Scalar
from ensemble.spec.model import ActionSpec, RuleSpec


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as an algorithm sees it. Counts are of jobs; `nodes` and `cores` are what one job of the first
    point needs; `count` is what the file says, summed over its entries and points."""

    name: str
    axes: tuple[str, ...]
    points: int
    count: int
    nodes: int
    cores: int
    member: str
    submitted: int
    pending: int
    running: int
    success: int
    failed: int
    cancelled: int
    lost: int

    @property
    def active(self) -> int:
        """Jobs that have not finished."""
        return self.pending + self.running


@dataclass(frozen=True, slots=True)
class PointView:
    """One point of a group."""

    values: dict[str, Scalar]
    count: int
    nodes: int
    cores: int
    submitted: int
    active: int
    success: int


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member. -1: not reported. `price` is per node-hour; `target` the size last asked for (0: none)."""

    name: str
    state: str
    nodes_up: int
    nodes_free: int
    cores_up: int
    cores_free: int
    target: int
    min_nodes: int
    max_nodes: int
    price: float
    outstanding: int
    resizable: bool
    opened: bool = False
    """Whether it has ever been open."""


class View(Protocol):
    """A read-only view of a running ensemble. `now` and `started` are seconds on the engine's clock."""

    @property
    def now(self) -> float:
        """The time of the event being decided on."""
        ...

    @property
    def started(self) -> float:
        """When the ensemble began."""
        ...

    def groups(self) -> Sequence[GroupView]:
        """All groups, in file order."""
        ...

    def points(self, group: str) -> Sequence[PointView]:
        """The points of one group, in order."""
        ...

    def members(self) -> Sequence[MemberView]:
        """All members, in file order."""
        ...

    def metric(self, path: str) -> float | None:
        """The value of a metric path such as `mean.sleep.duration`; None when unknown."""
        ...


class Outcome(NamedTuple):
    """What one step of an algorithm comes to: actions, taken in order, and what it remembers (None: as before)."""

    actions: tuple[ActionSpec, ...] = ()
    memory: dict[str, Any] | None = None


class Algorithm(Protocol):
    """A packaged, parameterised set of rules."""

    @property
    def name(self) -> str:
        """The name the file uses."""
        ...

    def validate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options complete and checked, as plain data. Raises `InputError` for an unknown name or an
        impossible value."""
        ...

    def rules(self, options: Mapping[str, Any], view: View) -> Sequence[RuleSpec]:
        """The rules it consists of. A rule whose action is `{name: algorithm, label: <step>}` calls `act`."""
        ...

    def act(
        self, step: str, options: Mapping[str, Any], memory: Mapping[str, Any], view: View, random: Random
    ) -> Outcome:
        """Take one step. Pure: the same arguments give the same outcome; of `random` only `.random()` is used."""
        ...
