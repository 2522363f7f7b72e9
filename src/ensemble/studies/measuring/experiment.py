"""The ensemble file that measures: one group of jobs for each number of runs that a point still lacks."""

from __future__ import annotations

__all__ = ["NOTHING", "How", "Tools", "ensemble_file", "missing_runs"]

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ensemble.model.jobs import Scalar
from ensemble.studies.measuring.measurement import Measurement
from ensemble.studies.measuring.native import compile_tool, in_image, source
from ensemble.studies.measuring.notes import MARK
from ensemble.studies.measuring.subject import Point, Subject
from ensemble.studies.writing import file_text

NOTHING: Final = "-"
"""Stands for an empty word in a note."""


class Tools(NamedTuple):
    """Paths of the interposer and of the dummy program on the machine where jobs run."""

    interposer: str
    dummy: str

    @classmethod
    def here(cls) -> Tools:
        """Those of this machine, compiled if they are not yet. Raises `InputError` where that is impossible."""
        return cls(str(compile_tool("interposer")), str(compile_tool("dummy")))

    @classmethod
    def in_image(cls) -> Tools:
        """Those of an image that `ensemble study build` made."""
        return cls(in_image("interposer"), in_image("dummy"))


def missing_runs(subject: Subject, measured: Iterable[Measurement], wanted: int) -> dict[Point, int]:
    """By point: how many undisturbed runs of the present recipe are still missing, where any are."""
    have = Counter(
        (one.tasks, one.size)
        for one in measured
        if one.usable and (one.cell, one.problem, one.digest) == (subject.cell, subject.problem, subject.digest)
    )
    counts = {point: wanted - have[point.tasks, str(point.size)] for point in subject.points}
    return {point: count for point, count in counts.items() if count > 0}


class How(NamedTuple):
    """How the jobs are run; `launcher` are the words that start all tasks, where the member's own shall not."""

    nodes: int = 0
    cores: int = 1
    walltime: float = 0.0
    launcher: str = ""


def ensemble_file(subject: Subject, missing: Mapping[Point, int], tools: Tools, how: How, seed: int) -> str:
    """The text of a file that runs each point as often as is missing, in random order and one at a time."""
    by_count: dict[int, list[Point]] = defaultdict(list)
    for point, count in missing.items():
        by_count[count].append(point)
    jobs = [_group(subject, count, points, tools, how) for count, points in sorted(by_count.items())]
    data = {"name": subject.name, "seed": seed, "jobs": jobs}
    return file_text(data, f"Measures {subject.cell} on {subject.problem}. Written by `ensemble study measure`.")


def _group(subject: Subject, count: int, points: Sequence[Point], tools: Tools, how: How) -> dict[str, Any]:
    group = {
        "name": f"repeat-{count}",
        "parameters": {"list": [_axes(point) for point in points]},
        "count": count,
        "order": "blocked",
        # nothing else may run beside it
        "exclusive": True,
        "max_running": 1,
        "tasks": "{tasks}",
        "nodes": how.nodes,
        "cores": how.cores,
        "walltime": how.walltime,
        "launcher": "none" if how.launcher else "",
        "env": dict(subject.env),
        "inputs": [dict(one) for one in subject.inputs],
        "setup": _setup(subject, tools, how),
        "command": _command(subject, tools, how),
        "cleanup": "\n".join(filter(None, [source("after.sh"), subject.cleanup])),
        "outputs": dict(subject.outputs),
        "valid": subject.valid,
    }
    return {key: value for key, value in group.items() if value}


def _axes(point: Point) -> dict[str, Scalar]:
    return {"tasks": point.tasks, **({"size": point.size} if point.size != "" else {})}


RECORD: Final = "{run}/jobs/{key}/mpi-{attempt}"


def _setup(subject: Subject, tools: Tools, how: How) -> str:
    about = {
        "cell": subject.cell,
        "problem": subject.problem,
        "size": NOTHING if all(point.size == "" for point in subject.points) else "{size}",
        "tasks": "{tasks}",
        "nodes": str(how.nodes or 1),
        "digest": subject.digest or NOTHING,
        "figure": subject.figure or NOTHING,
        "unit": subject.unit or NOTHING,
    }
    notes = "".join(f"echo '{MARK}about {word} {value}' >&2\n" for word, value in about.items())
    names = f"ENSEMBLE_DUMMY={shlex.quote(tools.dummy)}\nENSEMBLE_MPI_RECORD='{RECORD}'\n"
    own = f"{subject.setup.rstrip()}\n" if subject.setup else ""
    return names + notes + own + source("before.sh")


def _command(subject: Subject, tools: Tools, how: How) -> str:
    variables = (f"LD_PRELOAD={tools.interposer}", f"ENSEMBLE_MPI_RECORD={RECORD}")
    command = subject.command.strip()
    if "\n" in command:
        return "".join(f"export {one}\n" for one in variables) + command
    launcher = f"{how.launcher} " if how.launcher else ""
    return f"{launcher}env {' '.join(variables)} {command}"
