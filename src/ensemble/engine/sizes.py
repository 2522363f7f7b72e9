"""Whether a member could hold a job, as far as it has told its size."""

from __future__ import annotations

from typing import Final

from ensemble.engine.state import Member, Shape, State
from ensemble.model.decisions import Resize

_OURS: Final = ("local", "simulated")


def ours(member: Member) -> bool:
    """Whether nobody but this ensemble changes a member's size. Of another queue nodes may come up or be added."""
    return member.kind in _OURS


def resizing(state: State, member: str) -> bool:
    """Whether a member is asked to change its size and has not answered."""
    return any(isinstance(one, Resize) and one.member == member for one in state.commands.values())


def nodes_to_come(state: State, member: Member) -> int:
    """The nodes of a member once it has done what it was asked for; the most it had where nothing is asked."""
    if resizing(state, member.name):
        return member.target
    return max(member.nodes_up, member.target)


def sized(member: Member) -> bool:
    """Whether a member has told how large it is."""
    return member.opened and member.nodes_up >= 0 and member.cores_per_node > 0


def holds(shape: Shape, member: Member, nodes: int) -> bool:
    """Whether a job fits a member of that many nodes. A task never spans two of them, so what is left over on each
    is of no use to it."""
    if not nodes or shape.nodes > nodes:
        return False
    if shape.gpus and member.gpus_up >= 0 and member.nodes_up and shape.gpus * member.nodes_up > member.gpus_up * nodes:
        return False
    if not shape.task_cores:
        return True
    tasks = shape.cores // shape.task_cores
    return tasks <= (shape.nodes or nodes) * (member.cores_per_node // shape.task_cores)
