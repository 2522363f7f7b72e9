"""How large a Flux instance is, as its scheduler reports it (RFC 20)."""

from __future__ import annotations

__all__ = ["Ranks", "Sizes", "allocated_ranks", "read_ranks", "read_sizes"]

from typing import NamedTuple

import msgspec
from msgspec import Struct


class Sizes(NamedTuple):
    """Nodes, cores and GPUs: those there are (down ones too), those that are up, and the free ones among them."""

    nodes_all: int
    nodes_up: int
    nodes_free: int
    cores_all: int
    cores_up: int
    cores_free: int
    gpus_up: int
    cores_per_node: int


class Ranks(NamedTuple):
    """Brokers by rank: those that are there, and why each of those that take no jobs was drained."""

    online: frozenset[int]
    drained: dict[int, str]


class _Part(Struct, frozen=True):
    rank: str
    children: dict[str, str] = {}


class _Execution(Struct, frozen=True):
    R_lite: tuple[_Part, ...] = ()


class _Set(Struct, frozen=True):
    execution: _Execution = _Execution()


class _Status(Struct, frozen=True):
    all: _Set = _Set()
    allocated: _Set = _Set()
    down: _Set = _Set()


class _Drain(Struct, frozen=True):
    reason: str = ""


class _Brokers(Struct, frozen=True):
    online: str = ""
    drain: dict[str, _Drain] = {}


def read_sizes(answer: str) -> Sizes:
    """Read what `sched.resource-status` answered. Raises `msgspec.MsgspecError`."""
    status = msgspec.json.decode(answer, type=_Status)
    cores: dict[int, int] = {}
    gpus: dict[int, int] = {}
    used: dict[int, int] = {}
    for part in status.all.execution.R_lite:
        for rank in _numbers(part.rank):
            cores[rank] = len(_numbers(part.children.get("core", "")))
            gpus[rank] = len(_numbers(part.children.get("gpu", "")))
    for part in status.allocated.execution.R_lite:
        for rank in _numbers(part.rank):
            used[rank] = used.get(rank, 0) + len(_numbers(part.children.get("core", "")))
    down = {rank for part in status.down.execution.R_lite for rank in _numbers(part.rank)}
    up = [rank for rank in sorted(cores) if rank not in down]
    return Sizes(
        nodes_all=len(cores),
        nodes_up=len(up),
        nodes_free=sum(1 for rank in up if not used.get(rank)),
        cores_all=sum(cores.values()),
        cores_up=sum(cores[rank] for rank in up),
        cores_free=sum(cores[rank] - used.get(rank, 0) for rank in up),
        gpus_up=sum(gpus[rank] for rank in up),
        cores_per_node=max(cores.values(), default=0),
    )


def allocated_ranks(answer: str) -> frozenset[int]:
    """The ranks that jobs have cores on, by what `sched.resource-status` answered. Raises `msgspec.MsgspecError`."""
    status = msgspec.json.decode(answer, type=_Status)
    return frozenset(rank for part in status.allocated.execution.R_lite for rank in _numbers(part.rank))


def read_ranks(answer: str) -> Ranks:
    """Read what `resource.status` answered. Raises `msgspec.MsgspecError`."""
    brokers = msgspec.json.decode(answer, type=_Brokers)
    drained = {rank: drain.reason for ranks, drain in brokers.drain.items() for rank in _numbers(ranks)}
    return Ranks(frozenset(_numbers(brokers.online)), drained)


def _numbers(text: str) -> list[int]:
    """The members of an idset such as `0-3,7` (RFC 22)."""
    found: list[int] = []
    for part in text.strip("[]").split(","):
        if part:
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found
