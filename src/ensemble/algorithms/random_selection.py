"""`random-selection`: draw what runs next at random, until a count or a limit is reached.

Each job is drawn by itself. `draw: job` gives every job that is left the same chance; `point` gives it to every point,
however many jobs it has left; `group` to every group first, then to its points. Without `replace` each point
runs at most its `count` times; with it a point may be drawn any number of times, which is how a random search runs.
`count: unlimited` draws until one of the ensemble's `limits` ends it, and therefore needs `atOnce`.

Options:

| option | default | meaning |
|---|---|---|
| count | 0 | jobs drawn in all; 0: all there are; `unlimited`: until a limit of the ensemble |
| draw | job | what has equal chances: job, point or group |
| replace | no | whether a point may be drawn more often than its `count` says |
| atOnce | 0 | jobs under way at most; 0: no ceiling of its own |
| groups | all | only these groups |

```yaml
jobs:
  - name: search
    parameters: {rate: [0.1, 0.2, 0.4, 0.8], depth: [1, 2, 3]}
    command: ./train --rate {rate} --depth {depth} --seed {seed}
limits: {node_hours: 10}
algorithm:
  name: random-selection
  options: {draw: point, replace: yes, count: unlimited, atOnce: 8}
```
"""

from __future__ import annotations

__all__ = ["RandomSelection", "RandomSelectionOptions"]

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ensemble.algorithms.packaged import Packaged, Settings, Step, Turn, chosen, draw, on
from ensemble.algorithms.shuffle import draws
from ensemble.algorithms.slots import BATCH, LOW, Slot, left_in, slots, submit, total
from ensemble.engine.algorithm import Outcome, View
from ensemble.model.errors import InputError
from ensemble.spec.model import RuleSpec

UNLIMITED_WORD = "unlimited"


class RandomSelectionOptions(Settings, frozen=True, kw_only=True, rename="camel"):
    """Options of `random-selection`."""

    count: Annotated[int, Meta(ge=0, le=1_000_000_000)] | Literal["unlimited"] = 0
    draw: Literal["job", "point", "group"] = "job"
    replace: bool = False
    at_once: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class RandomSelection(Packaged[RandomSelectionOptions]):
    """Draw what runs next at random."""

    name: ClassVar[str] = "random-selection"
    settings = RandomSelectionOptions

    def refine(self, options: RandomSelectionOptions) -> RandomSelectionOptions:
        """With replacement nothing runs out, so something else has to bound it."""
        if options.replace and options.count == 0:
            raise InputError(f"{self.name}: replace needs a count (a number, or {UNLIMITED_WORD!r} with atOnce)")
        if options.replace and options.count == UNLIMITED_WORD and not options.at_once:
            raise InputError(f"{self.name}: count: {UNLIMITED_WORD} needs atOnce, or all would be submitted at once")
        return options

    def plan(self, options: RandomSelectionOptions, view: View) -> Sequence[RuleSpec]:
        """A batch at the start, the next when few wait; or one for each that ends, below a ceiling."""
        rules = [on("start", "draw", repetitions=1)]
        if options.at_once:
            rules.append(on("metric", "draw", rule="more", name="count.*.active", when=f"< {options.at_once}"))
        elif batches := _batches(options, view) - 1:
            rules.append(
                on("metric", "draw", rule="more", name="count.*.pending", when=f"< {LOW}", repetitions=batches)
            )
        return rules

    def steps(self) -> Mapping[str, Step[RandomSelectionOptions]]:
        """`draw`."""
        return {"draw": _draw}


def _batches(options: RandomSelectionOptions, view: View) -> int:
    jobs = total(left_in(group) for group in chosen(view, options))
    if isinstance(options.count, int) and options.count:
        jobs = options.count if options.replace else min(jobs, options.count)
    return max(1, -(-jobs // BATCH))


def _draw(options: RandomSelectionOptions, turn: Turn) -> Outcome:
    memory, view = turn.memory, turn.view
    drawn = int(memory.get("drawn", 0))
    most = BATCH
    counted = isinstance(options.count, int) and options.count > 0
    if isinstance(options.count, int) and counted:
        most = min(most, options.count - drawn)
    if options.at_once:
        most = min(most, options.at_once - total(group.active for group in view.groups()))
    if most <= 0:
        return Outcome()
    picks = _upto(most, _pick(options, [slots(view, group) for group in chosen(view, options)], most, turn.random))
    memory["drawn"] = drawn + total(count * slot.entries for slot, count in picks)
    return Outcome(tuple(submit(slot, count * slot.entries) for slot, count in picks), memory if counted else None)


def _upto(most: int, picks: list[tuple[Slot, int]]) -> list[tuple[Slot, int]]:
    """Cut off what goes beyond `most` jobs: each pick is as many jobs as its slot has entries."""
    kept = []
    for slot, count in picks:
        rounds = min(count, -(-most // slot.entries))
        if rounds > 0:
            kept.append((slot, rounds))
            most -= rounds * slot.entries
    return kept


def _pick(
    options: RandomSelectionOptions, found: list[list[Slot]], most: int, random: Random
) -> list[tuple[Slot, int]]:
    flat = [slot for group in found for slot in group]
    if options.draw == "job" and not options.replace:
        return [(flat[index], count) for index, count in draws(random, [_rounds(slot) for slot in flat], most)]
    if options.draw == "job":
        return _weighted(flat, most, random)
    piles = [group for group in found if group] if options.draw == "group" else [[slot] for slot in flat]
    return _equal(piles, most, options.replace, random)


def _rounds(slot: Slot) -> int:
    return -(-slot.left // slot.entries)


def _weighted(flat: list[Slot], most: int, random: Random) -> list[tuple[Slot, int]]:
    """With replacement, each job of the file alike: a point counts by its `count`."""
    ends = list(accumulate(max(1, slot.wanted) for slot in flat))
    return [(flat[bisect_right(ends, draw(random, ends[-1]))], 1) for _ in range(most)] if flat else []


def _equal(piles: list[list[Slot]], most: int, replace: bool, random: Random) -> list[tuple[Slot, int]]:
    """Every pile alike, then every slot of it that has something left."""
    left = [[(slot, _rounds(slot)) for slot in pile if replace or slot.left] for pile in piles]
    left = [pile for pile in left if pile]
    picks: list[tuple[Slot, int]] = []
    while left and len(picks) < most:
        which = draw(random, len(left))
        pile = left[which]
        place = draw(random, len(pile))
        slot, rounds = pile[place]
        picks.append((slot, 1))
        if not replace:
            if rounds > 1:
                pile[place] = (slot, rounds - 1)
            else:
                pile.pop(place)
                if not pile:
                    left.pop(which)
    return picks
