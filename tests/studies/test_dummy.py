"""The dummy program: what it does is counted, never timed, since the machine of a test may be busy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ensemble.studies.measuring.native import compile_tool
from tests.studies.mpis import Mpi
from tests.studies.test_interposer import run


def report(text: str) -> dict[str, str]:
    """What it printed at its end, by the first word of each line."""
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in text.splitlines()}


def test_it_does_the_work_of_a_closed_loop_again_under_each_mpi(mpi: Mpi, tmp_path: Path) -> None:
    # PyPI's MPIs are found beside their launcher
    path = f"{mpi.folder}:{os.environ['PATH']}"
    closed, fixed = (tmp_path / name for name in ("closed", "fixed"))
    for folder in (closed, fixed):
        folder.mkdir()
    dummy = str(compile_tool("dummy"))
    run(mpi.launch, [dummy, "--duration", "0.3", "--mpi", "0.3", "--write", "2"], closed, PATH=path)
    work = report((closed / "out").read_text())["work"]
    records = run(mpi.launch, [dummy, "--work", work], fixed, PATH=path)
    assert report((fixed / "out").read_text())["work"] == work
    _, operations, _, message = map(int, work.split(","))
    assert [record["size"] for record in records] == [2, 2]
    for record in records:
        assert record["library"].startswith(mpi.library)
        calls = {call["call"]: (call["count"], call["bytes"]) for call in record["calls"]}
        assert calls.get("MPI_Sendrecv", (0, 0)) == (operations, operations * message)


def test_without_mpi_it_only_computes_and_writes(tmp_path: Path) -> None:
    assert run([], [str(compile_tool("dummy")), "--duration", "0.1", "--write", "10", "--memory", "1"], tmp_path) == []
    said = report((tmp_path / "out").read_text())
    assert (said["mpi_share"], float(said["duration"]) >= 0.1) == ("0.000000", True)
    assert float(said["written"]) > 0
    assert not list(tmp_path.glob("dummy-*"))


def test_what_cannot_be_met_is_said(tmp_path: Path) -> None:
    run([], [str(compile_tool("dummy")), "--duration", "0.05", "--write", "1e5"], tmp_path)
    assert "write" in report((tmp_path / "out").read_text())["missed"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--duration", "soon"], "--duration needs a number from 0.001 to 1e+07"),
        (["--mpi", "1.5"], "--mpi needs a number from 0 to 1"),
        (["--mpi"], "--mpi needs a number"),
        (["--speed", "1"], "there is no option --speed"),
        (["--work", "1,2"], "--work needs the four numbers"),
    ],
)
def test_a_wrong_option_is_refused_in_words(words: list[str], says: str) -> None:
    done = subprocess.run([str(compile_tool("dummy")), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert says in done.stderr
