"""Jobs as the simulated queue knows them."""

from __future__ import annotations

__all__ = ["DONE", "QUEUED", "RUNNING", "STARTING", "JobShape", "SimulatedJob", "shape_of"]

from typing import Final

from ensemble.model.jobs import JobSpec
from ensemble.simulation.draws import group_seed
from ensemble.simulation.model import Fate, JobModel, Recorded, compile_model
from ensemble.simulation.pool import Need, Placement, need_of

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


def shape_of(job: JobSpec, cores: int, gpus: int, seed: int, known: Recorded | None = None) -> JobShape:
    """The shape of a job on nodes of `cores` cores and `gpus` GPUs. Raises `InputError`."""
    need = need_of(job.resources, cores, gpus, job.avoid)
    return JobShape(need, job.walltime, compile_model(job, known), group_seed(seed, job.group))
