"""What is measured: a cell on one of its problems, or a command."""

from __future__ import annotations

__all__ = ["FIGURE", "Point", "Subject", "of_cell", "of_command"]

import re
import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct, to_builtins

from ensemble.model.errors import InputError
from ensemble.model.jobs import FileInput, Scalar
from ensemble.model.wording import counted
from ensemble.spec.convert import nearest
from ensemble.studies.recipes import Cell, digest

FIGURE: Final = "fom"
"""The name of the figure of merit of a command."""


class Point(NamedTuple):
    """What a run is of: so many tasks on a problem of a size."""

    tasks: int
    size: Scalar


class Subject(Struct, frozen=True, kw_only=True):
    """What is measured, and how one run of it is judged.

    `command` is the program of one rank; `{tasks}` and `{size}` are filled in. `outputs` are the figures in the format
    of the ensemble file, `figure` the one that is the figure of merit. `digest` is that of the recipe, or of a command.
    """

    cell: str
    problem: str
    command: str
    points: tuple[Point, ...]
    setup: str = ""
    cleanup: str = ""
    env: Mapping[str, str] = {}
    inputs: Sequence[Mapping[str, str]] = ()
    outputs: Mapping[str, Any] = {}
    figure: str = ""
    unit: str = ""
    valid: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The name of the runs that measure it, such as `lammps-debian-mpich-melt`."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{self.cell}-{self.problem}").strip("-")[:80]


def of_cell(cell: Cell, problem: str, sizes: Sequence[str], tasks: Sequence[int]) -> Subject:
    """A cell on a problem of its application (by default the first) in some sizes (by default the first).

    Raises `InputError` naming the nearest where there is no such problem or size.
    """
    application = cell.application
    name = problem or next(iter(application.problems))
    if name not in application.problems:
        hint = nearest(name, sorted(application.problems))
        raise InputError(
            f"{application.name} has no problem {name!r}; it has {', '.join(application.problems)}. {hint}"
        )
    found = application.problems[name]
    by_text = {str(size): size for size in found.sizes}
    for size in sizes:
        if size not in by_text:
            raise InputError(f"the problem {name} has no size {size!r}; it has {', '.join(by_text)}")
    chosen = [by_text[size] for size in dict.fromkeys(sizes)] or [found.sizes[0]]
    if found.tasks and set(tasks) != {found.tasks}:
        raise InputError(f"the problem {name} is measured with {counted(found.tasks, 'task')}: `--tasks {found.tasks}`")
    figure = found.figure or application.figure
    return Subject(
        cell=cell.name,
        problem=name,
        command=found.command,
        points=tuple(Point(count, size) for size in chosen for count in tasks),
        setup=found.setup,
        cleanup=found.cleanup,
        env=found.env,
        inputs=tuple(_input(one) for one in found.inputs),
        outputs={key: to_builtins(rule) for key, rule in {**application.outputs, **found.outputs}.items()},
        figure=figure.name,
        unit=figure.unit,
        valid=found.valid or application.valid,
        digest=digest(cell),
    )


def of_command(
    command: str, cell: str, problem: str, sizes: Sequence[str], tasks: Sequence[int], pattern: str, unit: str
) -> Subject:
    """A command under the name of a cell (by default `PROGRAM/here`); `pattern` finds its figure of merit on stdout.

    Raises `InputError` for a command without words.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"the command {command!r}: {error}") from error
    if not words:
        raise InputError("the command is empty")
    return Subject(
        cell=cell or f"{Path(words[0]).name}/here",
        problem=problem or "command",
        command=command,
        points=tuple(Point(count, size) for size in sizes or [""] for count in tasks),
        outputs={FIGURE: {"pattern": pattern, "required": True}} if pattern else {},
        figure=FIGURE if pattern else "",
        unit=unit,
        digest=f"sha256:{sha256(repr((command, pattern, unit)).encode()).hexdigest()}",
    )


def _input(one: FileInput) -> dict[str, str]:
    """An input in the format of the ensemble file."""
    return {"to": one.to, "path": one.path} if one.text is None else {"to": one.to, "text": one.text}
