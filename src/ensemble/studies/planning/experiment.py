"""An experiment: an ensemble file with what it comes to, and the files that it is written to."""

from __future__ import annotations

__all__ = [
    "CLOCK",
    "Experiment",
    "Figures",
    "Task",
    "kubernetes_object",
    "simulated_makespan",
    "write_experiment",
    "write_text",
]

import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct

from ensemble.model.errors import FileError, InputError
from ensemble.simulation import simulate
from ensemble.spec.loader import from_plain
from ensemble.studies.measuring.native import compile_tool, in_image
from ensemble.studies.planning.kinds import DUMMY
from ensemble.studies.writing import file_text

CLOCK: Final = "clock"
"""The group, and the member, of the job that keeps a run open until the last arrival."""

_KINDS: Final = {"jobset": "jobset", "leaderworkerset": "leaderWorkerSet", "minicluster": "minicluster"}
"""How an object names the kinds of members; what is none of Kubernetes becomes `job`."""


class Figures(NamedTuple):
    """What an experiment comes to: makespan in seconds, core-hours, and the share of MPI in the time of all tasks."""

    jobs: int
    makespan: float
    core_hours: float
    mpi: float


class Task(Struct, frozen=True):
    """A job as a task of a workflow: its seconds, its cores, and the ids of the tasks that it waits for."""

    id: str
    name: str
    seconds: float
    cores: int = 1
    parents: tuple[str, ...] = ()


class Experiment(NamedTuple):
    """An ensemble file as plain data, what it comes to by its simulation, and its jobs as a workflow."""

    file: dict[str, Any]
    figures: Figures
    tasks: list[Task]


def simulated_makespan(file: dict[str, Any], directory: str) -> float:
    """The makespan in seconds that `ensemble simulate` gives for a file; its inputs need not be there yet.

    Raises `InputError` where its jobs cannot run on its members.
    """
    jobs = [{key: value for key, value in group.items() if key != "inputs"} for group in file["jobs"]]
    found = simulate(from_plain(file | {"jobs": jobs}, directory), functions=False).runs[0]
    if found.outcome != "success":
        raise InputError(f"members: the jobs of this plan cannot run on them: {found.reason or found.outcome}")
    return found.makespan


def kubernetes_object(file: dict[str, Any], image: str) -> dict[str, Any]:
    """An ensemble file as an object of kind Ensemble, whose jobs use this image where a group names no other.

    The dummy program is the one in the image. A job that keeps the run open waits on the first member, which is one
    node larger for it.
    """
    own = {name: member for name, member in file["members"].items() if name != CLOCK}
    home = next(iter(own))
    clocked = CLOCK in file["members"]
    members = []
    for name, member in own.items():
        kind = member.get("kind", name)
        key = _KINDS.get(kind, "job")
        size = member.get("nodes", 1) + (clocked and name == home)
        sizes = {"size": size} | ({"cores": member["cores"]} if "cores" in member else {})
        members.append({"name": name, key: {"image": image} | member.get("options", {}), **sizes})
    jobs = [_in_image(group, home) for group in file["jobs"]]
    spec = {"seed": file["seed"], "members": members, "jobs": jobs}
    if "rules" in file:
        spec["rules"] = file["rules"]
    kind_of_object = {"apiVersion": "ensemble.flux-framework.org/v1alpha1", "kind": "Ensemble"}
    return {**kind_of_object, "metadata": {"name": file["name"].lower().replace("_", "-")}, "spec": spec}


def _in_image(group: dict[str, Any], home: str) -> dict[str, Any]:
    """A group as it runs in an image, which has the dummy program."""
    found = {key: value for key, value in group.items() if key != "inputs" or value != [DUMMY]}
    if len(found) < len(group):
        found["command"] = found["command"].replace(f"./{DUMMY}", in_image("dummy"), 1)
    if group["name"] == CLOCK:
        found |= {"member": home, "exclusive": True}
    return found


def write_text(path: Path, text: str) -> None:
    """Write a file. Raises `FileError` where that is impossible."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error


def write_experiment(experiment: Experiment, path: Path, comment: str) -> list[Path]:
    """Write the ensemble file, and beside it the program of dummies; return what was written.

    Raises `FileError` where the directory cannot be written, and `InputError` where the program cannot be compiled.
    """
    write_text(path, file_text(experiment.file, comment))
    if not any(DUMMY in group.get("inputs", ()) for group in experiment.file["jobs"]):
        return [path]
    program = path.parent / DUMMY
    try:
        shutil.copy(compile_tool("dummy"), program)
    except OSError as error:
        raise FileError(f"{program}: {error.strerror}") from error
    return [path, program]
