r"""`successive-halving`: run every point, keep the best share of them, run those again, until one is left.

A round ends when none of its jobs is left. Then the points are ranked by a figure of merit, over all their jobs so far,
and the best share of them goes on. This is successive halving (Jamieson and Talwalkar, "Non-stochastic best arm
identification and hyperparameter optimization", 2016): most of the node-hours go to the points that deserve them.

- The number kept is that share of the points of the round, rounded down, and at least one.
- Ranks are exact. Of points with equal figures the one that is listed first ranks better.
- A point without the figure (all of its jobs failed) ranks last. When no point has it, no further round follows.
- The last round has one point, unless `rounds` ends it earlier. Each group is halved by itself.

Options:

| option | default | meaning |
|---|---|---|
| figure | **needed** | the figure that points are ranked by: a name under `outputs`, or `duration` |
| goal | minimize | whether small or large figures are better: minimize or maximize |
| keep | 1/2 | the share of the points that goes on, a fraction or a number between 0 and 1 |
| grow | 1 | in each round a point gets so many times as many jobs as in the one before |
| rounds | 0 | rounds at most; 0: until one point is left |
| statistic | mean | what a point is ranked by when it has several jobs: mean, min or max |
| groups | all | only these groups |

```yaml
jobs:
  - name: train
    parameters: {rate: [0.001, 0.01, 0.1, 1], depth: [2, 4]}
    command: ./train --rate {rate} --depth {depth} --seed {seed}
    outputs: {loss: 'loss ([-\d.e+]+)'}
algorithm:
  name: successive-halving
  options: {figure: loss, keep: 1/2, grow: 2}
```
"""

from __future__ import annotations

__all__ = ["HalvingOptions", "SuccessiveHalving"]

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ensemble.algorithms.packaged import Packaged, Settings, Step, Turn, chosen, on
from ensemble.algorithms.slots import Slot, metric, slots, submit
from ensemble.engine.algorithm import Outcome, View
from ensemble.model.errors import InputError
from ensemble.spec.convert import nearest
from ensemble.spec.model import ActionSpec, EnsembleSpec, RuleSpec
from ensemble.spec.vocabulary import QUANTITIES


class HalvingOptions(Settings, frozen=True, kw_only=True, rename="camel"):
    """Options of `successive-halving`."""

    figure: str = ""
    goal: Literal["minimize", "maximize"] = "minimize"
    keep: str | float = "1/2"
    grow: Annotated[int, Meta(ge=1, le=1_000)] = 1
    rounds: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    statistic: Literal["mean", "min", "max"] = "mean"


class SuccessiveHalving(Packaged[HalvingOptions]):
    """Keep the best share of the points in each round."""

    name: ClassVar[str] = "successive-halving"
    settings = HalvingOptions

    def refine(self, options: HalvingOptions) -> HalvingOptions:
        """Check what has to be there, and that the share is one."""
        if not options.figure:
            raise InputError(f"{self.name}: option figure is missing: it names what points are ranked by")
        try:
            share = _share(options)
        except (ValueError, ZeroDivisionError):
            share = Fraction(0)
        if not 0 < share < 1:
            raise InputError(f"{self.name}: option keep is a fraction between 0 and 1, such as 1/2, not {options.keep}")
        return options

    def check(self, options: Mapping[str, object], spec: EnsembleSpec) -> None:
        """Refuse a figure that no job of a group has."""
        named = options.get("groups") or [group.name for group in spec.jobs]
        figure = str(options["figure"])
        for group in spec.jobs:
            known = [*group.outputs, *QUANTITIES]
            if isinstance(named, list) and group.name in named and figure not in known:
                raise InputError(f"{self.name}: group {group.name} has no figure {figure!r}. {nearest(figure, known)}")

    def plan(self, options: HalvingOptions, view: View) -> Sequence[RuleSpec]:
        """The first round at the start, the next ones whenever no job of a group is left."""
        return [
            on("start", "round", repetitions=1),
            *(
                on("metric", "round", rule=f"round-{group.name}", name=f"count.{group.name}.active", when="== 0")
                for group in chosen(view, options)
            ),
        ]

    def steps(self) -> Mapping[str, Step[HalvingOptions]]:
        """`round`."""
        return {"round": _round}


def _share(options: HalvingOptions) -> Fraction:
    return Fraction(str(options.keep))


def _round(options: HalvingOptions, turn: Turn) -> Outcome:
    """Submit the next round of each group that has no job left. Memory: the round, and the places of its points."""
    actions: list[ActionSpec] = []
    for group in chosen(turn.view, options):
        if group.active:
            continue
        found = slots(turn.view, group)
        known = turn.memory.get(group.name)
        if known is None:
            number, places = 1, list(range(len(found)))
        else:
            number, places = known["round"] + 1, _survivors(options, turn.view, found, known["points"])
        if not places or (options.rounds and number > options.rounds):
            continue
        turn.memory[group.name] = {"round": number, "points": places}
        for place in places:
            slot = found[place]
            actions.append(submit(slot, slot.wanted * options.grow ** (number - 1)))
    return Outcome(tuple(actions), turn.memory)


def _survivors(options: HalvingOptions, view: View, found: list[Slot], places: list[int]) -> list[int]:
    """The places of the points that go on, in file order; none when the halving is over."""
    if len(places) < 2:
        return []
    sign = 1.0 if options.goal == "minimize" else -1.0
    ranked: list[tuple[bool, float, int]] = []
    for place in places:
        value = _figure(options, view, found[place])
        ranked.append((value is None, 0.0 if value is None else sign * value, place))
    if all(failed for failed, _, _ in ranked):
        return []
    ranked.sort()
    kept = max(1, int(len(places) * _share(options)))
    return sorted(place for _, _, place in ranked[:kept])


def _figure(options: HalvingOptions, view: View, slot: Slot) -> float | None:
    return metric(view, options.statistic, slot, options.figure) if slot.success else None
