"""`workload-demand`: submit everything, and let the members follow the demand.

All jobs of all groups go to the queue at the start, in the order asked for, and the queue runs them first come, first
served. Every `checkSeconds` the algorithm looks at each member that can be resized:

* **Up.** When at `scaleChecks` checks in a row the job that `scaleUpStrategy` picks among those waiting did not fit
  into what is free, the member grows by as many nodes as that job lacks. Where it fits and yet no job has started
  since the check before, something larger stands before it: then the smallest waiting job that does not fit counts.
* **Down.** When at `scaleChecks` + 2 checks in a row nothing waited and no fewer nodes were free than before, the
  member shrinks by the free ones (`excessNodes`): to what runs, but never below `nodes: {min}` or one node. Two
  more than for growing, so that one cannot set off the other.
* **End.** When at `terminateChecks` checks in a row nothing was left, waiting or running, the ensemble stops; with
  `disableTermination` the members shrink to their least size instead and the algorithm leaves the end to others.
  (Without anything that keeps it open, an ensemble ends by itself before that.)

Options:

| option | default | meaning |
|---|---|---|
| order | random | order of submission: random (every job by itself), ascending or descending in size, or as listed |
| terminateChecks | 10 | checks in a row with nothing left before the end |
| disableTermination | no | do not end |
| scaleUpStrategy | nextJob | whose size counts: nextJob, smallestJob, largestJob or randomJob of those waiting |
| scaleDownStrategy | excessNodes | how much goes: the free nodes |
| scaleChecks | 5 | checks in a row in which the next job cannot run before growing |
| checkSeconds | 10 | seconds between checks |
| groups | all | only these groups |

```yaml
members:
  cluster: {kind: minicluster, nodes: {min: 1, max: 8}}
jobs:
  - {name: small, command: lmp -in in.melt, nodes: 1, count: 20}
  - {name: large, command: lmp -in in.melt, nodes: 4, count: 5}
algorithm:
  name: workload-demand
  options: {order: ascending, scaleUpStrategy: largestJob, scaleChecks: 3}
```

The words and the meaning of the options are those of the Ensemble Operator (converged-computing/ensemble-operator).
With `order: random` the queue does not tell which job is next: the size most often waiting stands for it.
"""

from __future__ import annotations

__all__ = ["WorkloadDemand", "WorkloadDemandOptions"]

from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ensemble.algorithms.packaged import Packaged, Settings, Step, Turn, chosen, draw, on
from ensemble.algorithms.shuffle import draws
from ensemble.algorithms.slots import BATCH, LOW, Slot, left_in, size, slots, submit, total
from ensemble.engine.algorithm import MemberView, Outcome, View
from ensemble.model.jobs import Scalar
from ensemble.spec.model import ActionSpec, RuleSpec

_Positive = Meta(ge=1, le=1_000_000)


class WorkloadDemandOptions(Settings, frozen=True, kw_only=True, rename="camel"):
    """Options of `workload-demand`."""

    order: Literal["random", "ascending", "descending", "listed"] = "random"
    terminate_checks: Annotated[int, _Positive] = 10
    disable_termination: bool = False
    scale_up_strategy: Literal["nextJob", "smallestJob", "largestJob", "randomJob"] = "nextJob"
    scale_down_strategy: Literal["excessNodes"] = "excessNodes"
    scale_checks: Annotated[int, _Positive] = 5
    check_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 10.0


class WorkloadDemand(Packaged[WorkloadDemandOptions]):
    """Submit everything; members grow and shrink with the queue."""

    name: ClassVar[str] = "workload-demand"
    settings = WorkloadDemandOptions

    def plan(self, options: WorkloadDemandOptions, view: View) -> Sequence[RuleSpec]:
        """All at the start; in batches where each job is drawn; a check every so often."""
        rules = [on("start", "submit", repetitions=1)]
        jobs = total(left_in(group) for group in chosen(view, options))
        if options.order == "random" and jobs > BATCH:
            more = -(-jobs // BATCH) - 1
            when = f"< {LOW}"
            rules.append(on("metric", "submit", rule="more", name="count.*.pending", when=when, repetitions=more))
        rules.append(on("interval", "check", seconds=options.check_seconds))
        return rules

    def steps(self) -> Mapping[str, Step[WorkloadDemandOptions]]:
        """`submit` and `check`."""
        return {"submit": _submit, "check": _check}


def _ordered(options: WorkloadDemandOptions, view: View) -> list[Slot]:
    found = [slot for group in chosen(view, options) for slot in slots(view, group)]
    if options.order in ("ascending", "descending"):
        found.sort(key=size, reverse=options.order == "descending")
    return found


def _submit(options: WorkloadDemandOptions, turn: Turn) -> Outcome:
    waiting = [slot for slot in _ordered(options, turn.view) if slot.left]
    if options.order != "random":
        untouched = [group.name for group in chosen(turn.view, options) if not group.submitted]
        actions: list[ActionSpec] = []
        for name, run in groupby(waiting, key=lambda slot: slot.group):
            actions += _together(list(run), name in untouched, turn.view)
        return Outcome(tuple(actions))
    picks = draws(turn.random, [-(-slot.left // slot.entries) for slot in waiting], BATCH)
    return Outcome(tuple(submit(waiting[index], count * waiting[index].entries) for index, count in picks))


def _together(run: list[Slot], untouched: bool, view: View) -> list[ActionSpec]:
    """Submit neighbours of one group: by one action where they are all of it in file order, as most often."""
    if untouched and (run[0].values is None or [slot.values for slot in run] == _file_order(view, run[0].group)):
        return [ActionSpec(name="submit", label=run[0].group)]
    return [submit(slot, slot.left) for slot in run]


def _file_order(view: View, group: str) -> list[dict[str, Scalar]]:
    return [dict(point.values) for point in view.points(group)]


# ---- the check -----------------------------------------------------------------------------------------


def _check(options: WorkloadDemandOptions, turn: Turn) -> Outcome:
    memory, view = turn.memory, turn.view
    queue = view.groups()
    left = total(left_in(group) for group in chosen(view, options)) if options.order == "random" else 0
    if left or any(group.active for group in queue):
        memory["quiet"] = 0
    else:
        memory["quiet"] = min(memory.get("quiet", 0) + 1, options.terminate_checks)
        if memory["quiet"] == options.terminate_checks:
            if not options.disable_termination:
                return Outcome((ActionSpec(name="stop"),), memory)
            return Outcome(tuple(_to_least(member) for member in view.members() if _spare(member) > 0), memory)
    started = total(group.submitted - group.pending for group in queue)
    stuck = started == memory.get("started")
    memory["started"] = started
    actions = []
    seen: dict[str, Any] = {}
    for member in view.members():
        if member.resizable and member.state == "up" and member.nodes_up >= 0:
            past = memory.get("members", {}).get(member.name, {})
            action, seen[member.name] = _look(options, past, member, stuck, turn)
            if action is not None:
                actions.append(action)
    memory["members"] = seen
    return Outcome(tuple(actions), memory)


def _changing(member: MemberView) -> bool:
    """Whether the last change of its size is still under way."""
    return member.target > 0 and member.target != member.nodes_up


def _spare(member: MemberView) -> int:
    """How many nodes above its least size a member has."""
    if not member.resizable or member.state != "up" or _changing(member):
        return 0
    return member.nodes_up - max(1, member.min_nodes)


def _to_least(member: MemberView) -> ActionSpec:
    return ActionSpec(name="shrink", member=member.name, value=_spare(member))


def _look(
    options: WorkloadDemandOptions, past: Mapping[str, Any], member: MemberView, stuck: bool, turn: Turn
) -> tuple[ActionSpec | None, dict[str, int]]:
    """What to do with one member, and what to remember of it: checks that spoke for up and down, and free nodes."""
    now = {"up": 0, "down": 0, "free": member.nodes_free}
    if _changing(member):
        return None, now
    waiting = _waiting(options, member, turn.view)
    if waiting:
        lacking = _lacking(_pick(options, waiting, turn.random), member)
        if not lacking and stuck:
            lacking = min((nodes for slot, _ in waiting if (nodes := _lacking(slot, member))), default=0)
        room = member.max_nodes - member.nodes_up if member.max_nodes else lacking
        if lacking > 0 and room > 0:
            now["up"] = past.get("up", 0) + 1
            if now["up"] >= options.scale_checks:
                now["up"] = 0
                return ActionSpec(name="grow", member=member.name, value=min(lacking, room)), now
        return None, now
    excess = min(member.nodes_free, _spare(member))
    if excess > 0 and member.nodes_free >= past.get("free", 0):
        now["down"] = past.get("down", 0) + 1
        if now["down"] >= options.scale_checks + 2:
            now["down"] = 0
            return ActionSpec(name="shrink", member=member.name, value=excess), now
    return None, now


def _waiting(options: WorkloadDemandOptions, member: MemberView, view: View) -> list[tuple[Slot, int]]:
    """Slots with jobs in the queue that this member could run, and how many; the one likely to be next comes first.

    Within a group the queue is taken to be first come, first served: the jobs that run are those submitted first.
    """
    waiting: list[tuple[Slot, int]] = []
    for group in view.groups():
        if not group.pending or group.member not in ("", member.name):
            continue
        running = group.running
        for slot in _sorted(options, slots(view, group)):
            rest = slot.active - running
            running = max(0, -rest)
            if rest > 0:
                waiting.append((slot, rest))
    if options.order in ("ascending", "descending"):
        waiting.sort(key=lambda item: size(item[0]), reverse=options.order == "descending")
    elif options.order == "random":
        waiting.sort(key=lambda item: -item[1])
    return waiting


def _sorted(options: WorkloadDemandOptions, found: list[Slot]) -> list[Slot]:
    if options.order in ("ascending", "descending"):
        return sorted(found, key=size, reverse=options.order == "descending")
    return found


def _pick(options: WorkloadDemandOptions, waiting: list[tuple[Slot, int]], random: Random) -> Slot:
    found = [slot for slot, _ in waiting]
    if options.scale_up_strategy == "smallestJob":
        return min(found, key=size)
    if options.scale_up_strategy == "largestJob":
        return max(found, key=size)
    if options.scale_up_strategy == "randomJob":
        ends = list(accumulate(count for _, count in waiting))
        place = draw(random, ends[-1])
        return next(slot for slot, end in zip(found, ends, strict=True) if place < end)
    return found[0]


def _lacking(slot: Slot, member: MemberView) -> int:
    """Nodes to add before a job of `slot` can start; 0 when it fits into what is free. Unknown counts as none free."""
    if slot.nodes:
        return max(0, slot.nodes - max(0, member.nodes_free))
    cores = slot.cores - max(0, member.cores_free)
    if cores <= 0:
        return 0
    per_node = member.cores_up // member.nodes_up if member.nodes_up > 0 else 0
    return -(-cores // per_node) if per_node > 0 else 1
