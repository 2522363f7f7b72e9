"""What is free on each virtual node."""

from __future__ import annotations

__all__ = ["Node", "Placement", "Slots"]

from ensemble.model.jobs import Resources
from ensemble.model.placement import Size, never_fits, share, tasks_on

Placement = list[tuple["Node", int, tuple[int, ...]]]
"""What a job holds: (node, cores, GPU ids)."""


class Node:
    """One virtual node of this machine."""

    __slots__ = ("cores", "free", "gpus", "leaving", "name", "place")

    def __init__(self, name: str, cores: int, gpus: int, place: int) -> None:
        self.name = name
        self.cores = cores
        self.free = cores
        self.place = place
        """Which of the machine's GPUs are its own: the first `gpus`, the next ones, and so on."""
        self.gpus = list(range(place * gpus, place * gpus + gpus))
        self.leaving = False
        """It goes once it is idle."""


class Slots:
    """`nodes` x `cores` x `gpus`, with growth and shrinkage. A job's cores are counted, never shared; each GPU is
    one node's, under the number that the machine knows it by."""

    def __init__(self, nodes: int, cores: int, gpus: int) -> None:
        self.cores = cores
        self.gpus = gpus
        self.nodes: list[Node] = []
        self._made = 0
        self.resize(nodes)

    def resize(self, nodes: int) -> None:
        """Bring the number of nodes to `nodes`: new ones at once; idle ones leave at once, others when idle."""
        staying = [node for node in self.nodes if not node.leaving]
        for node in self.nodes:
            if node.leaving and len(staying) < nodes:
                node.leaving = False
                staying.append(node)
        while len(staying) < nodes:
            staying.append(self._make())
        for node in sorted(staying, key=lambda node: -node.free)[: len(staying) - nodes]:
            node.leaving = True
        self._sweep()

    def _make(self, place: int = -1) -> Node:
        """A new node; where not said otherwise, with the first GPUs that are no other's."""
        if place < 0 and self.gpus:
            taken = {node.place for node in self.nodes}
            place = next(place for place in range(len(taken) + 1) if place not in taken)
        node = Node(f"node{self._made}", self.cores, self.gpus, place)
        self._made += 1
        self.nodes.append(node)
        return node

    def _sweep(self) -> None:
        self.nodes = [node for node in self.nodes if not (node.leaving and node.free == node.cores)]

    def never(self, need: Resources, nodes: int) -> str:
        """Why a job can never run on `nodes` nodes; empty when it can."""
        return never_fits(need, Size(nodes, self.cores, self.gpus))

    def place(self, need: Resources) -> Placement | None:
        """Take what a job needs; None when that is not free now."""
        staying = [node for node in self.nodes if not node.leaving]
        each = share(need, self.cores, self.gpus)
        if each is None:
            return self._pack(need, staying)
        free = [node for node in staying if node.free >= each.cores and len(node.gpus) >= each.gpus]
        if len(free) < each.nodes or each.cores > self.cores:
            return None
        return [_take(node, each.cores, each.gpus) for node in free[: each.nodes]]

    def _pack(self, need: Resources, nodes: list[Node]) -> Placement | None:
        """Put the tasks on the first node with room for all of them, or on the first ones with room for any."""
        room = [(node, tasks) for node in nodes if (tasks := tasks_on(need, node.free, len(node.gpus)))]
        whole = next((node for node, tasks in room if tasks == need.tasks), None)
        if whole is not None:
            return [_take(whole, need.total_cores, need.total_gpus)]
        if sum(tasks for _, tasks in room) < need.tasks:
            return None
        found: Placement = []
        left = need.tasks
        for node, tasks in room:
            here = min(tasks, left)
            found.append(_take(node, here * need.cores, here * need.gpus))
            left -= here
            if not left:
                break
        return found

    def hold(self, need: Resources, gpus: tuple[int, ...]) -> Placement:
        """What a job holds that runs already, with just these GPUs. A node that is not there any more comes back
        until the job has ended."""
        if not gpus or not self.gpus:
            return self.place(need) or []
        found: Placement = []
        for place in sorted({gpu // self.gpus for gpu in gpus}):
            node = next((node for node in self.nodes if node.place == place), None)
            if node is None:
                node = self._make(place)
                node.leaving = True
            mine = tuple(gpu for gpu in gpus if gpu in node.gpus)
            cores = min(node.free, max(1, len(mine) // need.gpus if need.gpus else 1) * need.cores)
            node.free -= cores
            node.gpus = [gpu for gpu in node.gpus if gpu not in mine]
            found.append((node, cores, mine))
        return found

    def free(self, placement: Placement) -> bool:
        """Give back what a job held; true when a node left with it."""
        before = len(self.nodes)
        for node, cores, gpus in placement:
            node.free += cores
            node.gpus = sorted((*node.gpus, *gpus))
            if node.leaving:
                self._sweep()
        return len(self.nodes) != before

    def gpus_free(self) -> int:
        """How many GPUs no job holds."""
        return sum(len(node.gpus) for node in self.nodes if not node.leaving)

    def sizes(self) -> dict[str, int]:
        """nodes_up, nodes_free, cores_up, cores_free, gpus_up."""
        up = free = idle = 0
        for node in self.nodes:
            up += node.cores
            free += 0 if node.leaving else node.free
            idle += node.free == node.cores and not node.leaving
        return {
            "nodes_up": len(self.nodes),
            "nodes_free": idle,
            "cores_up": up,
            "cores_free": free,
            "gpus_up": len(self.nodes) * self.gpus,
        }


def _take(node: Node, cores: int, gpus: int) -> tuple[Node, int, tuple[int, ...]]:
    """Take cores and the first GPUs of a node."""
    node.free -= cores
    ids = tuple(node.gpus[:gpus])
    del node.gpus[:gpus]
    return node, cores, ids
