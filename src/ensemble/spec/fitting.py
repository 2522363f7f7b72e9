"""Whether a job fits a machine of so many equal nodes. A task never spans two of them, so what is left over on each
is of no use to it: three tasks of two cores do not fit two nodes of three cores."""

from __future__ import annotations

__all__ = ["Size", "never_fits", "tasks_a_node"]

from typing import NamedTuple

from ensemble.model.jobs import Resources


class Size(NamedTuple):
    """What a member has at most: nodes, and cores and GPUs of each."""

    nodes: int
    cores: int
    gpus: int = 0


def tasks_a_node(need: Resources, size: Size) -> int:
    """How many tasks of a job one node holds."""
    fits = need.tasks
    if need.cores:
        fits = min(fits, size.cores // need.cores)
    if need.gpus:
        fits = min(fits, size.gpus // need.gpus)
    return fits


def never_fits(need: Resources, size: Size) -> str:
    """Why a job can never run on a member of this size; empty when it can."""
    nodes = need.nodes or size.nodes
    if nodes > size.nodes:
        return f"it needs {nodes} nodes and there are at most {size.nodes}"
    each = -(-need.tasks // need.nodes) if need.nodes else 1
    if each * need.cores > size.cores:
        return f"it needs {each * need.cores} cores on one node and a node has {size.cores}"
    if need.total_cores > nodes * size.cores:
        return f"it needs {need.total_cores} cores and there are at most {nodes * size.cores}"
    if need.total_gpus > nodes * size.gpus:
        return f"it needs {need.total_gpus} GPUs and there are at most {nodes * size.gpus}"
    if each * need.gpus > size.gpus:
        return f"it needs {each * need.gpus} GPUs on one node and a node has {size.gpus}"
    if need.tasks > nodes * tasks_a_node(need, size):
        gpus = f" and {need.gpus} GPUs" if need.gpus else ""
        return (
            f"it needs {need.tasks} tasks of {need.cores} cores{gpus}, and {nodes} nodes hold "
            f"{nodes * tasks_a_node(need, size)} of them"
        )
    return ""
