"""Jobs as the simulated queue knows them."""

from __future__ import annotations

__all__ = ["DONE", "QUEUED", "RUNNING", "STARTING", "JobShape", "SimulatedJob"]

from typing import Final

from ensemble.members.simulated.model import Fate, JobModel
from ensemble.members.simulated.pool import Need, Placement

QUEUED: Final = 0
STARTING: Final = 1
RUNNING: Final = 2
DONE: Final = 3


class JobShape:
    """What jobs of one point have in common: their size, walltime (seconds, 0: none), model and seed."""

    __slots__ = ("model", "need", "seed", "walltime")

    def __init__(self, need: Need, walltime: float, model: JobModel, seed: int) -> None:
        self.need = need
        self.walltime = walltime
        self.model = model
        self.seed = seed


class SimulatedJob:
    """One attempt while it is open."""

    __slots__ = ("attempt", "cores", "fate", "key", "number", "placement", "shape", "started", "state", "takes")

    def __init__(self, key: str, number: int, attempt: int, shape: JobShape) -> None:
        self.key = key
        self.number = number
        self.attempt = attempt
        self.shape = shape
        self.state = QUEUED
        self.fate: Fate | None = None
        self.takes = 0.0
        self.started = 0.0
        self.placement: Placement = ()
        self.cores = 0
