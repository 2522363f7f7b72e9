"""`workload-success`: go on until each group has enough good results.

For programs that fail: a result counts when the job succeeded, its `valid` included, after its retries. Never are more
jobs under way than results are still missing, plus `ahead`: with `ahead: 0` not one job is spent too many, with
more of them the last results come sooner and some jobs may turn out surplus. A group whose program never
succeeds gives up after `maxJobs` jobs. (Several entries of one name that no axis tells apart come one of each.)

Options:

| option | default | meaning |
|---|---|---|
| successes | 0 | good results wanted; 0: the `count` of the file |
| per | group | who needs so many: each group, its points taking turns; or each point |
| ahead | 0 | jobs under way beyond what is missing |
| maxJobs | 0 | jobs that each may take in all; 0: ten times `successes` |
| atOnce | 0 | jobs of the ensemble under way at most; 0: no ceiling of its own |
| groups | all | only these groups |

```yaml
jobs:
  - name: dock
    command: ./dock --seed {seed}
    outputs: {score: '^score (.*)'}
    valid: score < -7
algorithm:
  name: workload-success
  options: {successes: 100, ahead: 8}
```
"""

from __future__ import annotations

__all__ = ["WorkloadSuccess", "WorkloadSuccessOptions"]

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ensemble.algorithms.packaged import Packaged, Settings, Step, Turn, chosen, on
from ensemble.algorithms.slots import Slot, slots, spread, submit, total, whole
from ensemble.engine.algorithm import Outcome, View
from ensemble.spec.model import ActionSpec, RuleSpec

_Count = Meta(ge=0, le=1_000_000_000)


class WorkloadSuccessOptions(Settings, frozen=True, kw_only=True, rename="camel"):
    """Options of `workload-success`."""

    successes: Annotated[int, _Count] = 0
    per: Literal["group", "point"] = "group"
    ahead: Annotated[int, _Count] = 0
    max_jobs: Annotated[int, _Count] = 0
    at_once: Annotated[int, _Count] = 0


class WorkloadSuccess(Packaged[WorkloadSuccessOptions]):
    """Go on until there are enough good results."""

    name: ClassVar[str] = "workload-success"
    settings = WorkloadSuccessOptions

    def plan(self, options: WorkloadSuccessOptions, view: View) -> Sequence[RuleSpec]:
        """A success leaves missing and under way in balance: only what did not succeed is replaced."""
        rules = [
            on("start", "fill", repetitions=1),
            on("job-fail", "fill", rule="failed"),
            on("job-cancel", "fill", rule="cancelled"),
        ]
        if options.at_once:
            rules.append(on("metric", "fill", rule="room", name="count.*.active", when=f"< {options.at_once}"))
        return rules

    def steps(self) -> Mapping[str, Step[WorkloadSuccessOptions]]:
        """`fill`."""
        return {"fill": _fill}


def _fill(options: WorkloadSuccessOptions, turn: Turn) -> Outcome:
    memory, view = turn.memory, turn.view
    groups = view.groups()
    room = options.at_once - total(group.active for group in groups) if options.at_once else None
    actions: list[ActionSpec] = []
    for group in chosen(view, options):
        for slot in slots(view, group) if options.per == "point" else [whole(view, group)]:
            jobs = _needed(options, slot)
            if room is not None:
                jobs = min(jobs, room)
                room -= max(0, jobs)
            if jobs > 0:
                actions += [submit(slot, jobs)] if options.per == "point" else spread(view, slot, jobs, memory)
    return Outcome(tuple(actions), memory)


def _needed(options: WorkloadSuccessOptions, slot: Slot) -> int:
    """Jobs to submit so that `missing` + `ahead` are under way, within `maxJobs`."""
    wanted = options.successes or slot.wanted
    missing = wanted - slot.success
    if missing <= 0:
        return 0
    return min(missing + options.ahead - slot.active, (options.max_jobs or 10 * wanted) - slot.submitted)
