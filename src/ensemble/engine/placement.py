"""Whether a job fits a member now, at the size it may grow to, or never, as far as the member has told its size.

The arithmetic of nodes, tasks, cores and GPUs is `ensemble.model.placement`; here it meets what is known of a member.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ensemble.engine.state import Member, Point, State
from ensemble.model.decisions import Resize
from ensemble.model.jobs import Resources
from ensemble.model.placement import UNKNOWN, Piece, Size, Taken, fits, nodes_for, nodes_held, piece_of, room_beside

_OWN_NODES: Final = ("local", "simulated")
"""Kinds whose members have nodes of their own, although the journals of earlier versions do not say so."""


def ours(member: Member) -> bool:
    """Whether nobody but this ensemble changes a member's size. Of another queue nodes may come up or be added."""
    return "own-nodes" in member.capabilities or member.kind in _OWN_NODES


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


def holds(need: Resources, member: Member, nodes: int) -> bool:
    """Whether a job fits a member of that many nodes.

    The nodes of another's queue need not be equal: `cores_per_node` is that of the largest, and all of its GPUs may be
    on one.
    """
    if not fits(need, Size(nodes, member.cores_per_node, _gpus_a_node(member))):
        return False
    known = member.gpus_up >= 0 and member.nodes_up > 0
    return not known or need.total_gpus * member.nodes_up <= member.gpus_up * nodes


def holds_at_any_size(need: Resources, member: Member) -> bool:
    """Whether a job fits a member if only it has enough nodes."""
    return nodes_for(need, member.cores_per_node, _gpus_a_node(member)) > 0


def nodes_of(point: Point, member: Member) -> float:
    """The nodes that a job of this point holds of a member, and that it is charged for."""
    return nodes_held(point.shape.need, member.cores_per_node, _gpus_a_node(member))


def piece_on(point: Point, member: Member) -> Piece:
    """The pieces that a job of this point takes of a member's nodes."""
    return piece_of(point.shape.need, member.cores_per_node, _gpus_a_node(member))


def starting_at_once(point: Point, member: Member, nodes: int, given: Mapping[Piece, int], most: int) -> int:
    """How many jobs of this point, up to `most`, start at once on `nodes` nodes, beside what the member has.

    `given`: jobs that are about to be sent there, by their pieces.
    """
    if not sized(member):
        return most
    taken = Taken()
    taken.cores, taken.gpus, taken.jobs = member.taken.cores, member.taken.gpus, dict(member.taken.jobs)
    for piece, jobs in given.items():
        taken.add(piece, jobs)
    size = Size(nodes, member.cores_per_node, _gpus_a_node(member))
    return room_beside(piece_on(point, member), size, taken, most)


def _gpus_a_node(member: Member) -> int:
    """The most GPUs that one node may have."""
    if member.gpus_up < 0 or member.nodes_up <= 0:
        return UNKNOWN
    return member.gpus_up // member.nodes_up if ours(member) else member.gpus_up
