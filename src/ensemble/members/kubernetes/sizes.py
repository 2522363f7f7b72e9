"""What the nodes of a cluster have, as far as this account may see them."""

from __future__ import annotations

__all__ = ["Sizes", "read_sizes"]

from collections.abc import Mapping
from typing import NamedTuple

from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.members.kubernetes.objects import NODES, Node


class Sizes(NamedTuple):
    """Nodes that may get jobs, their cores together, and the cores of the largest. -1 (0 for `largest`): not known."""

    nodes: int = -1
    cores: int = -1
    largest: int = 0
    gpus: int = -1


async def read_sizes(api: Api, selector: Mapping[str, str], gpu: str) -> Sizes:
    """The nodes that a selector chooses. An account that may not list nodes learns nothing, which is no error."""
    try:
        nodes, _ = await api.list_all(NODES, ",".join(f"{name}={text}" for name, text in selector.items()))
    except ApiError as error:
        if error.status == 403:
            return Sizes()
        raise
    ready = [node for node in nodes if _usable(node)]
    if not ready:
        return Sizes()  # an autoscaler may bring some
    cores = [_cores(node.status.allocatable.get("cpu", "0")) for node in ready]
    gpus = sum(int(node.status.allocatable.get(gpu, "0")) for node in ready)
    return Sizes(len(ready), sum(cores), max(cores), gpus)


def _usable(node: Node) -> bool:
    return node.ready and not any(taint.effect in ("NoSchedule", "NoExecute") for taint in node.spec.taints or ())


def _cores(quantity: str) -> int:
    """Whole cores of a quantity such as `4` or `3920m`."""
    return int(quantity[:-1]) // 1000 if quantity.endswith("m") else int(float(quantity))
