"""From the file to the simulated queue: machines of its members, shapes of its jobs."""

from __future__ import annotations

__all__ = ["here", "options_of", "shape_of"]

import os
from collections.abc import Mapping
from typing import Any

from ensemble.members.simulated.draws import group_seed
from ensemble.members.simulated.jobs import JobShape
from ensemble.members.simulated.model import Recorded, compile_model
from ensemble.members.simulated.options import SimulatedOptions, read_options
from ensemble.members.simulated.pool import need_of
from ensemble.model.jobs import JobSpec


def here() -> int:
    """Cores of this machine that this process may use: the size of a member that names none."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def options_of(kind: str, options: Mapping[str, Any], member: str) -> SimulatedOptions:
    """The options of a simulated member, or, for one of another kind, those under `simulate`. Raises `InputError`."""
    if kind == "simulated":
        return read_options(options, member)
    given = options.get("simulate", {})
    # what such a queue does unless its configuration says otherwise
    usual = {"scheduler": "backfill"} if kind == "slurm" else {}
    return read_options({**usual, **given}, member)


def shape_of(job: JobSpec, cores: int, gpus: int, seed: int, known: Recorded | None = None) -> JobShape:
    """The shape of a job on nodes of `cores` cores and `gpus` GPUs. Raises `InputError`."""
    need = need_of(job.resources, cores, gpus, job.avoid)
    return JobShape(need, job.walltime, compile_model(job, known), group_seed(seed, job.group))
