"""The file format of a measurement: one JSON file for each run of an application, in `measurements/` of a study."""

from __future__ import annotations

__all__ = ["FORMAT", "Figure", "Measurement", "MpiCall", "measurements", "read_measurement", "write_measurement"]

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ensemble.model.errors import InputError

FORMAT: Final = 1
"""The version of the format. A reader refuses a newer one."""


class Figure(msgspec.Struct, frozen=True):
    """A figure of merit, such as `loop_time` of 0.87 `s`."""

    name: str
    value: float
    unit: str = ""


class MpiCall(msgspec.Struct, frozen=True):
    """One MPI function, summed over all ranks.

    `seconds` is the time inside it. `bytes` is what the arguments describe: count times size of the type, of the send
    side where there are two.
    """

    call: str
    count: int
    seconds: float
    bytes: int


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an application.

    `cell` is the name of the recipe (`lammps/debian/mpich`), `digest` the digest of the recipe; `problem` and `size`
    are as the recipe names them. `wall` is the application's own time in seconds, from the start of its first process
    to its end; `hookup` is what the launcher took on top of it. `mpi_share` is the time in MPI divided by the time
    between MPI_Init and MPI_Finalize, over all ranks (0 to 1); None means that no MPI was observed. `valid` is false
    when the result is wrong, and `problems` says why; `disturbed` is true when something else on the machine took part,
    and `reasons` says what. `environment` describes the machine. `time` is the start in seconds since the Unix epoch.
    """

    format: int = FORMAT
    cell: str
    problem: str
    size: str = ""
    tasks: int
    nodes: int = 1
    iteration: int
    wall: float
    hookup: float = 0.0
    fom: Figure | None = None
    figures: tuple[Figure, ...] = ()
    """All figures that were read, `fom` included."""
    valid: bool = True
    problems: tuple[str, ...] = ()
    mpi_share: float | None = None
    mpi_calls: tuple[MpiCall, ...] = ()
    disturbed: bool = False
    reasons: tuple[str, ...] = ()
    environment: dict[str, Any] = {}
    digest: str = ""
    time: float

    @property
    def usable(self) -> bool:
        """Whether a model may be fitted to it."""
        return self.valid and not self.disturbed


def write_measurement(measurement: Measurement, path: Path) -> None:
    """Write a measurement, or leave the file as it was: another process never sees half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(measurement), indent=1) + b"\n")
    part.replace(path)


def read_measurement(path: Path) -> Measurement:
    """Return the measurement of a file. Raises `InputError` where it cannot be read or is of a newer format."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Measurement)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is not a measurement: {error}") from error
    if found.format > FORMAT:
        raise InputError(f"{path} has format {found.format}; this version of Ensemble reads up to {FORMAT}")
    return found


def measurements(study: Path) -> Iterator[Measurement]:
    """Yield the measurements of a study, in the order of their file names. Raises `InputError` for a damaged one."""
    for path in sorted((study / "measurements").glob("*.json")):
        yield read_measurement(path)
