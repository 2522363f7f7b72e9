"""A rule while it runs, and the index that finds the rules an event concerns.

A rule waits either for a trigger (`Group.on`, intervals, `idle`) or for a value (`Watch`). Conditions of
one comparison of one value with a constant are kept sorted, so that a change visits only those that hold.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping

from ensemble.model.jobs import Scalar
from ensemble.spec.model import UNLIMITED, ActionSpec, RuleSpec

Reader = Callable[[], float | None]
Condition = Callable[[], float | bool | None]


class Rule:
    """One rule (for one value, under `for_each`) and how far it has come."""

    __slots__ = (
        "action",
        "binding",
        "calls",
        "condition",
        "fired",
        "homes",
        "id",
        "interval_at",
        "key",
        "last",
        "left",
        "open",
        "order",
        "owner",
        "parked",
        "readers",
        "removed",
        "skip",
        "spec",
        "template",
        "trigger",
        "until",
    )

    def __init__(self, rule_id: str, order: int, spec: RuleSpec, binding: dict[str, Scalar], owner: str = "") -> None:
        self.id = rule_id
        self.order = order
        self.spec = spec
        self.action: ActionSpec = spec.action
        self.calls = spec.action.name == "custom"
        """Whether it is a function rule."""
        self.trigger = spec.trigger
        self.binding = binding
        self.owner = owner
        self.template = ""
        """Id of the `for_each` rule that this one is an instance of."""
        self.condition: Condition | None = None
        self.readers: tuple[tuple[str, Reader], ...] = ()
        """Every value the condition reads, with its text."""
        self.homes: list[tuple[Watch, str]] = []
        """Its entries in the index: (watch, statistic), the statistic empty for a general condition."""
        self.key: tuple[str, float, int] | None = None
        """For a threshold: side (above, below), constant, rank among equals."""
        self.left = spec.action.repetitions
        self.skip = 0
        self.fired = 0
        self.last = -1.0
        self.until = 0.0
        """End of a cooldown that holds back a match; 0: none."""
        self.open = 0
        """Changes of size of its action that have not ended."""
        self.interval_at = 0.0
        self.parked = True
        self.removed = False

    @property
    def exhausted(self) -> bool:
        """Whether all repetitions are used."""
        return self.left != UNLIMITED and self.left <= 0

    @property
    def considered(self) -> bool:
        """Whether a match of it would count now."""
        return not (self.removed or self.open or self.until or self.exhausted)

    def why(self) -> dict[str, float | None]:
        """The value of everything its condition reads."""
        return {text: read() for text, read in self.readers}


class Listeners:
    """The rules that wait for one trigger of a group, found by the values of the point that it concerns."""

    __slots__ = ("_bound", "_free")

    def __init__(self) -> None:
        self._free: list[Rule] = []
        self._bound: dict[tuple[str, ...], dict[tuple[Scalar, ...], list[Rule]]] = {}
        """Rules of a `for_each`, by its axes and their values."""

    def add(self, rule: Rule) -> None:
        """Let a rule be found."""
        if rule.binding:
            by_values = self._bound.setdefault(tuple(rule.binding), {})
            by_values.setdefault(tuple(rule.binding.values()), []).append(rule)
        else:
            self._free.append(rule)

    def of(self, values: Mapping[str, Scalar] | None) -> list[Rule]:
        """Return the rules for a point with these values; for none, those of no `for_each`."""
        if not self._bound or values is None:
            return self._free
        found = list(self._free)
        for axes, by_values in self._bound.items():
            if all(axis in values for axis in axes):
                found += by_values.get(tuple(values[axis] for axis in axes), ())
        return found

    def __iter__(self) -> Iterator[Rule]:
        yield from self._free
        for by_values in self._bound.values():
            for rules in by_values.values():
                yield from rules


class Each:
    """A `for_each` rule: what its instances are made from."""

    __slots__ = ("axes", "id", "made", "order", "owner", "removed", "rule")

    def __init__(self, rule_id: str, rule: RuleSpec, owner: str, order: int, axes: tuple[str, ...]) -> None:
        self.id = rule_id
        self.rule = rule
        self.owner = owner
        self.order = order
        self.axes = axes
        self.made = 0
        """How many instances there are."""
        self.removed = False


class Thresholds:
    """Conditions `value > c` (or >=, <, <=) on one value, sorted by c."""

    __slots__ = ("above", "below", "read")

    def __init__(self, read: Reader) -> None:
        self.read = read
        self.above: list[tuple[float, int, int, Rule]] = []
        self.below: list[tuple[float, int, int, Rule]] = []

    def add(self, rule: Rule) -> None:
        """Insert a rule at its key."""
        assert rule.key is not None
        side, constant, rank = rule.key
        insort(self.above if side == "above" else self.below, (constant, rank, rule.order, rule))

    def remove(self, rule: Rule) -> None:
        """Take a rule out."""
        assert rule.key is not None
        side, constant, rank = rule.key
        entries = self.above if side == "above" else self.below
        del entries[bisect_left(entries, (constant, rank, rule.order))]

    def any_crossed(self) -> bool:
        """Whether `crossed` would find any."""
        above, below = self.above, self.below
        if not above and not below:
            return False
        value = self.read()
        if value is None:
            return False
        if above:
            constant, rank, _, _ = above[0]
            if constant < value or (constant == value and rank == 0):
                return True
        if below:
            constant, rank, _, _ = below[-1]
            return constant > value or (constant == value and rank == 1)
        return False

    def crossed(self) -> list[Rule]:
        """Every rule whose condition holds at the present value."""
        value = self.read()
        if value is None:
            return []
        # rank 0 is >= and <, rank 1 is > and <=, so one cut each side separates true from false
        end = bisect_left(self.above, (value, 1)) if self.above else 0
        found = [entry[3] for entry in self.above[:end]]
        if self.below:
            begin = bisect_left(self.below, (value, 1))
            found += [entry[3] for entry in self.below[begin:]]
        return found


class Watch:
    """Who waits for one value (one count, one quantity's series, one number of a member)."""

    __slots__ = ("general", "thresholds")

    def __init__(self) -> None:
        self.general: dict[str, Rule] = {}
        self.thresholds: dict[str, Thresholds] = {}

    def candidates(self) -> list[Rule]:
        """The rules to consider now that the value has changed."""
        found = list(self.general.values()) if self.general else []
        for thresholds in self.thresholds.values():
            found += thresholds.crossed()
        return found


def park(rule: Rule) -> None:
    """Take a metric rule out of the index while no match of it would count."""
    if rule.parked:
        return
    rule.parked = True
    for watch, statistic in rule.homes:
        if statistic:
            watch.thresholds[statistic].remove(rule)
        else:
            watch.general.pop(rule.id, None)


def unpark(rule: Rule) -> None:
    """Put a metric rule (back) into the index."""
    if not rule.parked or not rule.considered:
        return
    rule.parked = False
    for watch, statistic in rule.homes:
        if statistic:
            watch.thresholds[statistic].add(rule)
        else:
            watch.general[rule.id] = rule
