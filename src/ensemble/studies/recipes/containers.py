"""Running a cell on this machine in the image that was built of it, with buildah, which needs no daemon."""

from __future__ import annotations

__all__ = ["container", "launcher", "prepared"]

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ensemble.model.errors import EnsembleError, InputError
from ensemble.studies.recipes.building import builder, image_name
from ensemble.studies.recipes.cells import Cell

_DIRECTORY: Final = "{run}/jobs/{key}"
"""The work directory of a job, in the placeholders of the ensemble file."""

_OPTIONS: Final = {"openmpi": " --oversubscribe --bind-to none --allow-run-as-root", "mpich": ""}
"""What `mpiexec` of a flavour needs where somebody else counts the cores."""


@contextmanager
def container(cell: Cell, folder: Path, env: Mapping[str, str] = {}) -> Iterator[str]:
    """Make a container of a cell's image, and remove it at the end.

    Gives the words that run a program in it, in the work directory of a job. `folder` is seen in it under its own path,
    and `env` is set. Raises `InputError` where buildah is missing or the image has not been built.
    """
    program, image = builder("buildah"), image_name(cell)
    if not program.has(image):
        raise InputError(f"there is no image of {cell.name} here; `ensemble study build {cell.name}` makes it")
    # the name is always the same, so that a run that was interrupted can go on
    name = "ensemble-" + image.rpartition("/")[2].replace(":", "-")
    try:
        program.run("inspect", "--type=container", name)
    except EnsembleError:
        program.run("from", f"--name={name}", image)
    seen = folder.resolve()
    variables = "".join(f" {shlex.quote(f'--env={key}={value}')}" for key, value in env.items())
    user = f"--user={os.getuid()}:{os.getgid()}"
    try:
        yield (
            f"{program.program} run --isolation=chroot {user} {shlex.quote(f'--volume={seen}:{seen}')}{variables} "
            f"--workingdir={_DIRECTORY} {name} --"
        )
    finally:
        program.run("rm", name)


def launcher(cell: Cell) -> str:
    """The words that start the ranks of a cell, in an ensemble file; its MPI is called by a name that no other has."""
    return f"{cell.mpi.launcher} -n {{tasks}}{_OPTIONS[cell.mpi.flavour]}"


def prepared(lines: str, words: str) -> str:
    """Shell lines that run in a container, as the shell lines of a job."""
    return f"{words} /bin/sh -ec {shlex.quote(lines)}" if lines else ""
