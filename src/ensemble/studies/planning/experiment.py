"""An experiment: an ensemble file with what it comes to, and the files that it is written to."""

from __future__ import annotations

__all__ = ["Experiment", "Figures", "simulated_makespan", "write_experiment"]

import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from msgspec import Struct

from ensemble.model.errors import FileError
from ensemble.simulation import simulate
from ensemble.spec.loader import from_plain
from ensemble.studies.measuring.native import compile_tool
from ensemble.studies.planning.kinds import DUMMY

_WIDTH: Final = 120


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
    """The makespan in seconds that `ensemble simulate` gives for a file; its inputs need not be there yet."""
    jobs = [{key: value for key, value in group.items() if key != "inputs"} for group in file["jobs"]]
    return simulate(from_plain(file | {"jobs": jobs}, directory), functions=False).runs[0].makespan


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_experiment(experiment: Experiment, path: Path, comment: str) -> list[Path]:
    """Write the ensemble file, and beside it the program of dummies; return what was written.

    Raises `FileError` where the directory cannot be written, and `InputError` where the program cannot be compiled.
    """
    text = yaml.dump(experiment.file, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=_WIDTH)
    try:
        if not any(DUMMY in group.get("inputs", ()) for group in experiment.file["jobs"]):
            path.write_text(f"# {comment}\n{text}", "utf-8")
            return [path]
        program = path.parent / DUMMY
        shutil.copy(compile_tool("dummy"), program)
        path.write_text(f"# {comment}\n{text}", "utf-8")
    except OSError as error:
        raise FileError(f"{error.filename or path}: {error.strerror}") from error
    return [path, program]
