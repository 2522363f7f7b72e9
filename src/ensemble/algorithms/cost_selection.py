"""`cost-selection`: get the results where a good one costs least.

Each workload has alternatives, which differ in the member they run on. There are two ways to say so:

* an axis whose values are names of members (`member: "{where}"`, and `axis: where` here): each group is a workload
  for each combination of its other axes;
* groups that each name a member, without `axis`: together they are one workload.

What a good result costs on an alternative is expected to be
`price x nodes x mean duration x finished jobs / good ones`: a cheap node that is slow, or where jobs fail, is not
cheap. First each alternative gets `minimum` jobs, and when those have ended, each further job goes to the alternative
that is cheapest by what is known at that moment (at equal cost the sooner one). With `hurry` the cheapest of those
that are known gets jobs while others are still being tried: sooner done, but a fast and dear one may have done
it all by the time a slow and cheap one is known. Never are more jobs under way than results are missing,
plus `ahead`. An alternative whose member is down or gone is passed over.

Options:

| option | default | meaning |
|---|---|---|
| axis | none | the axis that names the member |
| successes | 0 | good results wanted of each workload; 0: the largest `count` among its alternatives |
| minimum | 3 | finished jobs of an alternative before its cost counts as known |
| hurry | no | do not hold jobs back until every alternative is known |
| ahead | 0 | jobs under way beyond what is missing |
| maxJobs | 0 | jobs that a workload may take in all; 0: ten times `successes` |
| atOnce | 0 | jobs of the ensemble under way at most; 0: no ceiling of its own |
| groups | all | only these groups |

```yaml
members:
  cpu: {kind: minicluster, price: 0.41 USD/node-hour}
  gpu: {kind: minicluster, price: 3.06 USD/node-hour}
jobs:
  - name: md
    parameters: {where: [cpu, gpu]}
    member: "{where}"
    command: ./md --on {where}
    count: 40
algorithm:
  name: cost-selection
  options: {axis: where}
```

A job bound to no member is charged at the price of the dearest. Failed jobs are taken to last as long as good ones:
only those of good ones are measured.
"""

from __future__ import annotations

__all__ = ["CostSelection", "CostSelectionOptions"]

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from ensemble.algorithms.packaged import Packaged, Settings, Step, Turn, chosen, on
from ensemble.algorithms.slots import Slot, metric, slots, spread, submit, total, whole
from ensemble.engine.algorithm import MemberView, Outcome, View
from ensemble.spec.model import ActionSpec, RuleSpec

_Count = Meta(ge=0, le=1_000_000_000)
_AWAY: Final = ("down", "closed", "gone")


class CostSelectionOptions(Settings, frozen=True, kw_only=True, rename="camel"):
    """Options of `cost-selection`."""

    axis: str = ""
    successes: Annotated[int, _Count] = 0
    minimum: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    hurry: bool = False
    ahead: Annotated[int, _Count] = 0
    max_jobs: Annotated[int, _Count] = 0
    at_once: Annotated[int, _Count] = 0


class CostSelection(Packaged[CostSelectionOptions]):
    """Get the results where a good one costs least."""

    name: ClassVar[str] = "cost-selection"
    settings = CostSelectionOptions

    def plan(self, options: CostSelectionOptions, view: View) -> Sequence[RuleSpec]:
        """At the start, with each job that ends, and when a member comes back."""
        return [
            on("start", "next", repetitions=1),
            on("job-finish", "next", rule="finished"),
            on("member-up", "next", rule="back"),
        ]

    def steps(self) -> Mapping[str, Step[CostSelectionOptions]]:
        """`next`."""
        return {"next": _next}


class _Alternative:
    """One way to get a result, and what the present step has given it already."""

    __slots__ = ("cost", "duration", "given", "known", "slot", "usable")

    def __init__(
        self, options: CostSelectionOptions, slot: Slot, view: View, members: Mapping[str, MemberView]
    ) -> None:
        self.slot = slot
        self.given = 0
        member = members.get(slot.member)
        self.usable = member is None or member.state not in _AWAY
        price = member.price if member is not None else max((other.price for other in members.values()), default=0.0)
        mean = metric(view, "mean", slot, "duration")
        attempts = slot.finished / max(slot.success, 0.5)
        self.duration = None if mean is None else mean * attempts
        """Expected seconds of running for one good result."""
        self.cost = None if self.duration is None else price * _nodes(slot, member) * self.duration / 3600.0
        self.known = slot.finished >= options.minimum and (mean is not None or not slot.success)
        """Whether there is enough data; `cost` None then means: it has never worked."""

    @property
    def submitted(self) -> int:
        """Jobs given to it in all."""
        return self.slot.submitted + self.given

    def explorable(self, minimum: int) -> bool:
        """Whether it should get a job for the sake of knowing."""
        if self.known or not self.usable:
            return False
        return self.submitted < minimum or self.slot.active + self.given == 0


def _nodes(slot: Slot, member: MemberView | None) -> float:
    if slot.nodes:
        return float(slot.nodes)
    if member is None or member.nodes_up <= 0 or member.cores_up <= 0:
        return 1.0
    return slot.cores * member.nodes_up / member.cores_up


def _next(options: CostSelectionOptions, turn: Turn) -> Outcome:
    memory, view = turn.memory, turn.view
    members = {member.name: member for member in view.members()}
    room = options.at_once - total(group.active for group in view.groups()) if options.at_once else None
    actions: list[ActionSpec] = []
    for workload in _workloads(options, view, members):
        alternatives = [_Alternative(options, slot, view, members) for slot in workload]
        needed = _needed(options, workload)
        if room is not None:
            needed = min(needed, room)
        while needed > 0 and (choice := _choose(options, alternatives)) is not None:
            choice.given += choice.slot.entries
            needed -= choice.slot.entries
            if room is not None:
                room -= choice.slot.entries
        for alternative in alternatives:
            slot, given = alternative.slot, alternative.given
            if given:
                actions += [submit(slot, given)] if slot.values is not None else spread(view, slot, given, memory)
    return Outcome(tuple(actions), memory)


def _needed(options: CostSelectionOptions, workload: list[Slot]) -> int:
    wanted = options.successes or max(slot.wanted for slot in workload)
    missing = wanted - total(slot.success for slot in workload)
    if missing <= 0:
        return 0
    under_way = total(slot.active for slot in workload)
    taken = total(slot.submitted for slot in workload)
    return min(missing + options.ahead - under_way, (options.max_jobs or 10 * wanted) - taken)


def _choose(options: CostSelectionOptions, alternatives: list[_Alternative]) -> _Alternative | None:
    """The next alternative to get a job; None: wait for what is under way."""
    unknown = [one for one in alternatives if one.explorable(options.minimum)]
    if unknown:
        return min(unknown, key=lambda one: one.submitted)
    if not options.hurry and any(one.usable and not one.known for one in alternatives):
        return None
    known = [one for one in alternatives if one.known and one.usable]
    worked = [one for one in known if one.cost is not None]
    if worked:
        return min(worked, key=lambda one: (one.cost or 0.0, one.duration or 0.0))
    return min(known, key=lambda one: one.submitted) if known else None


def _workloads(options: CostSelectionOptions, view: View, members: Mapping[str, MemberView]) -> list[list[Slot]]:
    groups = chosen(view, options)
    if not options.axis:
        return [[whole(view, group) for group in groups]] if groups else []
    found: list[list[Slot]] = []
    for group in groups:
        places: dict[str, list[Slot]] = {}
        for slot in slots(view, group):
            values = slot.values or {}
            others = repr([(axis, value) for axis, value in values.items() if axis != options.axis])
            where = str(values.get(options.axis, ""))
            places.setdefault(others, []).append(slot._replace(member=where) if where in members else slot)
        found += places.values()
    return found
