"""What the interposer says of programs whose calls are known."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ensemble.model.errors import InputError
from ensemble.studies.measuring.native import calls, compile_tool
from tests.studies.mpis import KINDS, Mpi

PROGRAMS = Path(__file__).parent / "programs"

IN_BOTH = {
    "MPI_Send": (1, 0),  # to MPI_PROC_NULL
    "MPI_Iprobe": (1000, 0),
    "MPI_Barrier": (1, 0),
    "MPI_Allreduce": (5, 5 * 7 * 8),
}
KNOWN = {
    "c": IN_BOTH
    | {
        "MPI_Isend": (10, 8000),
        "MPI_Irecv": (10, 8000),
        "MPI_Waitall": (10, 0),
        "MPI_Sendrecv": (1, 200),
        "MPI_Alltoallv": (1, 6),
        "MPI_Allgather": (1, 3),
    },
    "f90": IN_BOTH | {"MPI_Sendrecv": (10, 8000), "MPI_Allgather": (1, 24)},
}
KNOWN["f08.f90"] = KNOWN["f90"]


def run(launch: Sequence[str], program: Sequence[str], folder: Path, **environment: str) -> list[dict[str, Any]]:
    """Run a program under the interposer, in a folder; return the records of its ranks. What it prints is in `out`."""
    record = folder / "record"
    record.mkdir()
    preload = ["env", f"LD_PRELOAD={compile_tool('interposer')}", f"ENSEMBLE_MPI_RECORD={record}"]
    words = [*launch, *preload, *program]
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (folder / "out").write_text(done.stdout)
    return [json.loads(path.read_text()) for path in sorted(record.iterdir())]


@pytest.mark.parametrize(
    ("mpi", "language"),
    [(kind, language) for kind in KINDS for language in KNOWN if language == "c" or kind.startswith("debian")],
    indirect=["mpi"],
)
def test_counts_and_bytes_of_a_known_program_are_exact(mpi: Mpi, language: str, tmp_path: Path) -> None:
    compiler = mpi.c if language == "c" else mpi.fortran
    flags = [] if language == "c" else ["-w", "-fallow-argument-mismatch"]
    program = tmp_path / "program"
    subprocess.run([compiler, *flags, "-o", program, PROGRAMS / f"known.{language}"], check=True, timeout=60)
    records = run(mpi.launch, [str(program)], tmp_path)
    assert [(one["rank"], one["size"]) for one in records] == [(0, 2), (1, 2)]
    for record in records:
        assert record["library"].startswith(mpi.library)
        assert {call["call"]: (call["count"], call["bytes"]) for call in record["calls"]} == KNOWN[language]
        assert 0 < record["mpi"] == sum(call["ns"] for call in record["calls"]) <= record["window"] < record["wall"]


def test_a_program_without_mpi_leaves_no_record(tmp_path: Path) -> None:
    assert run([], ["true"], tmp_path) == []


def test_each_call_is_in_the_table_once() -> None:
    names = [call.name for call in calls()]
    assert len(names) == len(set(names)) > 100


def test_without_a_compiler_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs a C compiler, and there is no cc, gcc, clang on PATH"):
        compile_tool("interposer")
