"""Whether a job fits on nodes, and what it takes of them. All other code asks this module.

A node runs a task as a whole or not at all, so what is left over on each node is of no use to a task that needs more.
A job that names a number of nodes is spread evenly over them: each has room for the larger share. An `exclusive` job
has its nodes to itself. Any other job is packed: its tasks go to whichever nodes have room.

The engine, `ensemble check`, the local member, the simulated member and the batch queues all ask here. It stands below
all of them, in `model`, because `spec` may not import the engine.
"""

from __future__ import annotations

__all__ = [
    "UNKNOWN",
    "Piece",
    "Share",
    "Size",
    "Taken",
    "fits",
    "never_fits",
    "nodes_for",
    "nodes_held",
    "piece_of",
    "room_beside",
    "share",
    "tasks_on",
    "too_large",
]

from typing import Final, NamedTuple

from ensemble.model.jobs import Resources
from ensemble.model.wording import counted

UNKNOWN: Final = -1
"""A number of GPUs that nobody knows: it limits nothing."""


class Size(NamedTuple):
    """Equal nodes: how many there are, and the cores and GPUs of each."""

    nodes: int
    cores: int
    gpus: int = 0


class Share(NamedTuple):
    """What a job takes that is spread over `nodes` nodes: cores and GPUs of each."""

    nodes: int
    cores: int
    gpus: int


def tasks_on(need: Resources, cores: int, gpus: int) -> int:
    """How many tasks of a job fit on a node with so many free cores and GPUs."""
    tasks = need.tasks
    if need.cores:
        tasks = min(tasks, cores // need.cores)
    if need.gpus and gpus != UNKNOWN:
        tasks = min(tasks, gpus // need.gpus)
    return tasks


def nodes_for(need: Resources, cores: int, gpus: int) -> int:
    """The least number of idle nodes, each of `cores` cores and `gpus` GPUs, that hold a job; 0 when none does."""
    most = tasks_on(need, cores, gpus)
    if not need.nodes:
        return -(-need.tasks // most) if most else 0
    return need.nodes if -(-need.tasks // need.nodes) <= most else 0


def fits(need: Resources, size: Size) -> bool:
    """Whether a job fits on these nodes when nothing else runs there."""
    return 0 < nodes_for(need, size.cores, size.gpus) <= size.nodes


def share(need: Resources, cores: int, gpus: int) -> Share | None:
    """What a job takes of each of its nodes, which have `cores` cores and `gpus` GPUs; None when it is packed."""
    if not need.nodes and not need.exclusive:
        return None
    nodes = need.nodes or nodes_for(need, cores, gpus) or 1
    tasks = -(-need.tasks // nodes)
    return Share(nodes, max(tasks * need.cores, cores if need.exclusive else 0), tasks * need.gpus)


def nodes_held(need: Resources, cores: int, gpus: int = UNKNOWN) -> float:
    """How many nodes a job holds while it runs, which is what it pays for: a part of one where it is packed.

    `cores` and `gpus` are of one node; with 0 cores, which means that they are not known, at least one node is paid.
    """
    if need.nodes:
        return float(need.nodes)
    if not cores:
        return 1.0
    if need.exclusive:
        return float(nodes_for(need, cores, gpus) or 1)
    return need.total_cores / cores


def never_fits(need: Resources, size: Size) -> str:
    """Why a job can never run on these nodes; empty when it can."""
    if fits(need, size):
        return ""
    nodes = need.nodes or size.nodes
    tasks = -(-need.tasks // need.nodes) if need.nodes else 1
    if nodes > size.nodes:
        return f"it needs {counted(nodes, 'node')} and there are at most {size.nodes}"
    if tasks * need.cores > size.cores:
        return f"it needs {counted(tasks * need.cores, 'core')} on one node and a node has {size.cores}"
    if need.total_cores > nodes * size.cores:
        return f"it needs {counted(need.total_cores, 'core')} and there are at most {nodes * size.cores}"
    if need.total_gpus > nodes * size.gpus:
        return f"it needs {counted(need.total_gpus, 'GPU')} and there are at most {nodes * size.gpus}"
    if tasks * need.gpus > size.gpus:
        return f"it needs {counted(tasks * need.gpus, 'GPU')} on one node and a node has {size.gpus}"
    gpus = f" and {counted(need.gpus, 'GPU')}" if need.gpus else ""
    held = nodes * tasks_on(need, size.cores, size.gpus)
    tasks_of = f"{counted(need.tasks, 'task')} of {counted(need.cores, 'core')}{gpus}"
    return f"it needs {tasks_of}, and {counted(nodes, 'node')} can hold {held} of them"


def too_large(need: Resources, nodes: int, cores: int, whose: str) -> str:
    """Why a job asks for more than a whole queue has, whose nodes may differ; empty when it does not.

    `nodes` and `cores` are those of the whole queue, which `whose` names in the answer.
    """
    if need.total_cores > cores:
        return f"it needs {counted(need.total_cores, 'core')}; {whose} has {cores}"
    if need.nodes > nodes:
        return f"it needs {counted(need.nodes, 'node')}; {whose} has {nodes}"
    return ""


# ---- beside jobs of which nobody knows on which nodes they are ---------------------------------------


class Piece(NamedTuple):
    """What a job takes at once on one node, and how often: on `nodes` nodes, or `tasks` times anywhere."""

    nodes: int
    tasks: int
    cores: int
    gpus: int


def piece_of(need: Resources, cores: int, gpus: int) -> Piece:
    """The pieces that a job takes of nodes with `cores` cores and `gpus` GPUs."""
    each = share(need, cores, gpus)
    if each is None:
        return Piece(0, need.tasks, need.cores, need.gpus)
    return Piece(each.nodes, each.nodes, each.cores, each.gpus)


class Taken:
    """What jobs take together."""

    __slots__ = ("cores", "gpus", "jobs")

    def __init__(self) -> None:
        self.cores = 0
        self.gpus = 0
        self.jobs: dict[tuple[int, int], int] = {}
        """Jobs by the cores and GPUs of one piece."""

    def add(self, piece: Piece, jobs: int) -> None:
        """Add jobs, or with a negative number take them away."""
        self.cores += jobs * piece.tasks * piece.cores
        self.gpus += jobs * piece.tasks * piece.gpus
        kind = (piece.cores, piece.gpus)
        left = self.jobs.get(kind, 0) + jobs
        if left:
            self.jobs[kind] = left
        else:
            del self.jobs[kind]


def room_beside(piece: Piece, size: Size, taken: Taken, most: int) -> int:
    """How many jobs, up to `most`, have room on these nodes at once, wherever the jobs that are there may be.

    A node has no room for a piece of s cores only when more than c - s of its c cores are taken, so there are at most
    `taken // (c - s + 1)` such nodes; and where all pieces are alike, those that are full.
    """
    cores, gpus = taken.cores, taken.gpus
    alike = not any(kind != (piece.cores, piece.gpus) for kind in taken.jobs)
    a_node = min(
        size.cores // piece.cores if piece.cores else most * piece.tasks + 1,
        size.gpus // piece.gpus if piece.gpus and size.gpus != UNKNOWN else most * piece.tasks + 1,
    )
    if a_node < 1:
        return 0
    for jobs in range(most):
        # all but the last piece of a job that is packed are in the way of the last
        before = 0 if piece.nodes else piece.tasks - 1
        now_cores, now_gpus = cores + before * piece.cores, gpus + before * piece.gpus
        if alike:
            full = (now_cores // piece.cores if piece.cores else now_gpus // max(1, piece.gpus)) // a_node
        else:
            full = now_cores // (size.cores - piece.cores + 1) if piece.cores else 0
            if piece.gpus and size.gpus != UNKNOWN:
                full += now_gpus // (size.gpus - piece.gpus + 1)
        if full > size.nodes - (piece.nodes or 1):
            return jobs
        cores += piece.tasks * piece.cores
        gpus += piece.tasks * piece.gpus
    return most
