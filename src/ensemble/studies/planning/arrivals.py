"""When jobs arrive: at once, at random, in bursts, or as in a trace of a real machine."""

from __future__ import annotations

__all__ = ["arrival_times", "read_swf"]

import math
import os
from pathlib import Path
from random import Random
from typing import NamedTuple

from ensemble.model.errors import FileError, InputError
from ensemble.studies.planning.plan import PlanFile


class TracedJob(NamedTuple):
    """A job of a trace: when it was submitted, how long it ran (both in seconds), and its processors."""

    submitted: float
    seconds: float
    processors: int


def arrival_times(file: PlanFile, count: int) -> list[float]:
    """When each of this many families arrives, in seconds since the start and in order."""
    arrivals = file.plan.arrivals
    match arrivals.pattern:
        case "poisson":
            random = Random(file.plan.seed)
            times, now = [], 0.0
            for _ in range(count):
                times.append(round(now, 2))
                now -= arrivals.every * math.log(1.0 - random.random())
            return times
        case "bursts":
            return [arrivals.every * (place // arrivals.size) for place in range(count)]
        case "trace":
            jobs = read_swf(os.path.join(file.directory, arrivals.file))
            if len(jobs) < count:
                raise file.problem("arrivals.file", f"the trace has {len(jobs)} jobs, and the plan {count}")
            first = jobs[0].submitted
            return [round((job.submitted - first) / arrivals.speed, 2) for job in jobs[:count]]
        case _:
            return [0.0] * count


def read_swf(path: str | Path) -> list[TracedJob]:
    """Read a trace in the Standard Workload Format, in the order of submission.

    Each line has 18 numbers, of which the second is the time of submission, the fourth the run time and the fifth the
    processors; `;` begins a comment and -1 means unknown (Feitelson, Parallel Workloads Archive, version 2.2). Jobs
    that never ran are left out. Raises `FileError` where it cannot be read and `InputError` for a wrong line.
    """
    try:
        lines = Path(path).read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition(";")[0].split()
        if not words:
            continue
        try:
            submitted, seconds, processors = float(words[1]), float(words[3]), int(float(words[4]))
        except (IndexError, ValueError):
            raise InputError(f"{path}:{number}: this is no line of the Standard Workload Format, 18 numbers") from None
        if seconds > 0 and processors > 0:
            found.append(TracedJob(submitted, seconds, processors))
    if not found:
        raise InputError(f"{path}: there is no job that ran in this trace")
    return sorted(found)
