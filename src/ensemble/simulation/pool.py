"""Which nodes have what free. Nodes are kept by their number of free cores, so that placing a job does not cost more
on a larger machine."""

from __future__ import annotations

__all__ = ["Need", "Placement", "Pool", "need_of"]

from collections.abc import Iterable
from typing import NamedTuple

from ensemble.model.jobs import Resources
from ensemble.model.placement import Size, never_fits, share, tasks_on

Placement = tuple[tuple[int, int, int], ...]
"""What a job holds: (node, cores, GPUs)."""


class Need(NamedTuple):
    """What one job takes, worked out from its `resources`.

    With `nodes`: that many, `cores` and `gpus` on each. Without: `tasks` tasks of `cores` and `gpus`, packed onto any
    nodes. `avoid`: nodes (by name) that it must not get.
    """

    resources: Resources
    nodes: int
    tasks: int
    cores: int
    gpus: int = 0
    avoid: tuple[str, ...] = ()


def need_of(resources: Resources, cores: int, gpus: int, avoid: tuple[str, ...] = ()) -> Need:
    """What a job takes on nodes of `cores` cores and `gpus` GPUs."""
    each = share(resources, cores, gpus)
    if each is None:
        return Need(resources, 0, resources.tasks, resources.cores, resources.gpus, avoid)
    return Need(resources, each.nodes, resources.tasks, each.cores, each.gpus, avoid)


class Pool:
    """Nodes of one kind. `cores_free` counts only nodes that take new jobs."""

    __slots__ = (
        "_buckets",
        "_free",
        "_gpus",
        "_mask",
        "_numbers",
        "cores",
        "cores_free",
        "gpus",
        "leaving",
        "names",
        "nodes_up",
    )

    def __init__(self, nodes: int, cores: int, gpus: int = 0) -> None:
        """`cores` and `gpus` are of one node."""
        self.cores = cores
        self.gpus = gpus
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []
        """Free cores by node; -1 when the node is gone."""
        self._gpus: list[int] = []
        self._buckets: list[dict[int, None]] = [{} for _ in range(cores + 1)]
        """Nodes by free cores; each is a set that keeps its order."""
        self._mask = 0
        """Bit f is set where bucket f holds a node."""
        self.leaving: dict[int, None] = {}
        """Nodes that take no new job and go when they are idle."""
        self.cores_free = 0
        self.nodes_up = 0
        for _ in range(nodes):
            self.add()

    # ---- nodes -------------------------------------------------------------------------------------

    def add(self) -> int:
        """A new node; return its number."""
        number = len(self.names)
        self.names.append(f"node{number}")
        self._numbers[self.names[number]] = number
        self._free.append(self.cores)
        self._gpus.append(self.gpus)
        self._enter(number, self.cores)
        self.cores_free += self.cores
        self.nodes_up += 1
        return number

    @property
    def staying(self) -> int:
        """Nodes that are not about to leave."""
        return self.nodes_up - len(self.leaving)

    @property
    def nodes_free(self) -> int:
        """Idle nodes that take new jobs."""
        return len(self._buckets[self.cores])

    def shrink(self, nodes: int) -> None:
        """Bring the nodes that stay down to `nodes`: the idlest go, busy ones when they have become idle."""
        for free in range(self.cores, -1, -1):
            bucket = self._buckets[free]
            while bucket and self.staying > nodes:
                self._leave(next(reversed(bucket)), free)

    def keep(self, nodes: int) -> None:
        """Let nodes that were about to leave stay, up to `nodes` in all."""
        while self.leaving and self.staying < nodes:
            number, _ = self.leaving.popitem()
            self._enter(number, self._free[number])
            self.cores_free += self._free[number]

    def fail(self, number: int) -> bool:
        """A node is gone at once; whether it was there. What its jobs held elsewhere must still be given back."""
        free = self._free[number]
        if free < 0:
            return False
        if number in self.leaving:
            del self.leaving[number]
        else:
            self._exit(number, free)
            self.cores_free -= free
        self._free[number] = -1
        self.nodes_up -= 1
        return True

    def up(self) -> list[int]:
        """The numbers of the nodes there are."""
        return [number for number, free in enumerate(self._free) if free >= 0]

    def _leave(self, number: int, free: int) -> None:
        self._exit(number, free)
        self.cores_free -= free
        if free == self.cores and self._gpus[number] == self.gpus:
            self._free[number] = -1
            self.nodes_up -= 1
        else:
            self.leaving[number] = None

    def _enter(self, number: int, free: int) -> None:
        bucket = self._buckets[free]
        if not bucket:
            self._mask |= 1 << free
        bucket[number] = None

    def _exit(self, number: int, free: int) -> None:
        bucket = self._buckets[free]
        del bucket[number]
        if not bucket:
            self._mask &= ~(1 << free)

    # ---- jobs --------------------------------------------------------------------------------------

    def never(self, need: Need, nodes: int) -> str:
        """Why a job can never run on `nodes` nodes; empty when it can."""
        return never_fits(need.resources, Size(nodes, self.cores, self.gpus))

    def take(self, need: Need) -> Placement | None:
        """Take what a job needs; None when that is not free now."""
        if need.avoid:
            return self._avoiding(need)
        cores = need.cores
        if not need.nodes:
            if need.gpus:
                return self._pack_gpus(need)
            whole = need.tasks * cores
            if whole > self.cores_free:
                return None
            if whole <= self.cores:
                fitting = self._mask >> whole
                if fitting:
                    # the node that it fills best
                    free = whole + (fitting & -fitting).bit_length() - 1
                    number = next(reversed(self._buckets[free]))
                    self._set(number, free, free - whole)
                    return ((number, whole, 0),)
            return self._pack(need.tasks, cores)
        if need.gpus:
            return self._spread_gpus(need)
        if need.nodes == 1:
            fitting = self._mask >> cores
            if not fitting:
                return None
            free = cores + (fitting & -fitting).bit_length() - 1
            number = next(reversed(self._buckets[free]))
            self._set(number, free, free - cores)
            return ((number, cores, 0),)
        return self._spread(need)

    def give(self, placement: Placement) -> bool:
        """Take back what a job held; true when a node left with it."""
        left = False
        for number, cores, gpus in placement:
            free = self._free[number]
            if free < 0:
                continue
            self._gpus[number] += gpus
            if number in self.leaving:
                self._free[number] = free + cores
                if free + cores == self.cores and self._gpus[number] == self.gpus:
                    del self.leaving[number]
                    self._free[number] = -1
                    self.nodes_up -= 1
                    left = True
            else:
                self._set(number, free, free + cores)
        return left

    def copy(self) -> Pool:
        """Another pool in the same state (for looking ahead)."""
        other = Pool(0, self.cores, self.gpus)
        other.names, other._numbers = self.names, self._numbers
        other._free, other._gpus = self._free.copy(), self._gpus.copy()
        other._buckets = [bucket.copy() for bucket in self._buckets]
        other._mask = self._mask
        other.leaving = self.leaving.copy()
        other.cores_free, other.nodes_up = self.cores_free, self.nodes_up
        return other

    def claim(self, placement: Placement) -> bool:
        """Take exactly this; false (and nothing is taken) when it is not all free."""
        for number, cores, gpus in placement:
            if self._free[number] < cores or self._gpus[number] < gpus or number in self.leaving:
                return False
        for number, cores, gpus in placement:
            self._gpus[number] -= gpus
            self._set(number, self._free[number], self._free[number] - cores)
        return True

    def _set(self, number: int, before: int, free: int) -> None:
        bucket = self._buckets[before]
        del bucket[number]
        if not bucket:
            self._mask &= ~(1 << before)
        bucket = self._buckets[free]
        if not bucket:
            self._mask |= 1 << free
        bucket[number] = None
        self._free[number] = free
        self.cores_free += free - before

    def _pack(self, tasks: int, cores: int) -> Placement | None:
        """Pieces over several nodes, the emptiest first."""
        found: list[tuple[int, int, int]] = []
        for free in range(self.cores, cores - 1, -1):
            pieces = free // cores if cores else tasks
            for number in self._buckets[free]:
                taken = min(tasks, pieces) * cores
                found.append((number, taken, 0))
                tasks -= min(tasks, pieces)
                if not tasks:
                    return self._all(found)
        return None

    def _pack_gpus(self, need: Need) -> Placement | None:
        """Tasks with GPUs: all on the fullest node that holds them, or over several, the emptiest first."""
        room = []
        for free in range(need.cores, self.cores + 1):
            for number in self._buckets[free]:
                tasks = tasks_on(need.resources, free, self._gpus[number])
                if tasks == need.tasks:
                    return self._all([(number, tasks * need.cores, tasks * need.gpus)])
                if tasks:
                    room.append((number, tasks))
        found, left = [], need.tasks
        for number, tasks in reversed(room):
            here = min(tasks, left)
            found.append((number, here * need.cores, here * need.gpus))
            left -= here
            if not left:
                return self._all(found)
        return None

    def _spread(self, need: Need) -> Placement | None:
        """The same on each of several nodes, the fullest that still fit first."""
        found: list[tuple[int, int, int]] = []
        for free in range(need.cores, self.cores + 1):
            for number in self._buckets[free]:
                found.append((number, need.cores, 0))
                if len(found) == need.nodes:
                    return self._all(found)
        return None

    def _spread_gpus(self, need: Need) -> Placement | None:
        found: list[tuple[int, int, int]] = []
        for free in range(need.cores, self.cores + 1):
            for number in self._buckets[free]:
                if self._gpus[number] >= need.gpus:
                    found.append((number, need.cores, need.gpus))
                    if len(found) == need.nodes:
                        return self._all(found)
        return None

    def _all(self, found: list[tuple[int, int, int]]) -> Placement:
        for number, cores, gpus in found:
            free = self._free[number]
            self._gpus[number] -= gpus
            self._set(number, free, free - cores)
        return tuple(found)

    def _avoiding(self, need: Need) -> Placement | None:
        """Hide the nodes to be avoided for a moment."""
        hidden = [
            (number, self._free[number])
            for number in self._named(need.avoid)
            if self._free[number] >= 0 and number not in self.leaving
        ]
        for number, free in hidden:
            self._exit(number, free)
            self.cores_free -= free
        placement = self.take(need._replace(avoid=()))
        for number, free in hidden:
            self._enter(number, free)
            self.cores_free += free
        return placement

    def _named(self, hosts: Iterable[str]) -> list[int]:
        words = dict.fromkeys(word for host in hosts for word in host.split(","))
        return [self._numbers[word] for word in words if word in self._numbers]
