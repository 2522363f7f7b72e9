"""Measuring with real programs on this machine. It may be busy: what is asserted holds then too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ensemble.studies.measuring.measurement import Measurement, measurements
from ensemble.studies.measuring.native import compile_tool
from tests.studies.mpis import Mpi, missing, of_kind
from tests.studies.test_interposer import KNOWN, PROGRAMS


def start(folder: Path, *words: str, path: str = "") -> subprocess.Popen[str]:
    """Start `ensemble study measure` in a folder."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    command = [sys.executable, "-m", "ensemble", "study", "measure", "--output", "quiet", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def measured(folder: Path, *words: str, path: str = "") -> list[Measurement]:
    """Measure once, without repeating what is disturbed; return what there is then."""
    process = start(folder, "--rounds", "1", *words, path=path)
    _, said = process.communicate(timeout=120)
    assert process.returncode in (0, 1), said
    return list(measurements(folder / "study"))


@pytest.fixture(scope="module")
def debian() -> dict[str, Mpi]:
    """Debian's MPIs by name."""
    found = {name: of_kind(f"debian-{name}", Path) for name in ("openmpi", "mpich")}
    if reason := missing(found["mpich"]):
        pytest.skip(reason)
    return found


def built(mpi: Mpi, folder: Path) -> str:
    program = folder / "known"
    subprocess.run([mpi.c, "-o", program, PROGRAMS / "known.c"], check=True, timeout=60)
    return str(program)


def test_a_program_without_mpi_reads_not_observed_and_is_timed(tmp_path: Path) -> None:
    (one,) = measured(tmp_path, "--command", "sleep 0.2", "--repeat", "1")
    assert (one.mpi_share, one.mpi_calls, one.valid, one.hookup) == (None, (), True, 0.0)
    assert one.wall >= 0.2
    assert one.environment["cpu"]["threads"] >= one.environment["cpu"]["usable"] >= 1
    assert one.environment["during"]["canary"] > 0
    assert one.environment["memory"] > 0


def test_calls_of_all_ranks_are_summed(tmp_path: Path, debian: dict[str, Mpi]) -> None:
    launcher = " ".join(("--launcher=mpiexec.mpich", "-n", "{tasks}"))
    (one,) = measured(tmp_path, "--command", built(debian["mpich"], tmp_path), "--tasks=2", "--repeat=1", launcher)
    assert {call.call: (call.count, call.bytes) for call in one.mpi_calls} == {
        name: (2 * count, 2 * size) for name, (count, size) in KNOWN["c"].items()
    }
    assert one.mpi_share is not None
    assert 0 < one.mpi_share < 1
    assert one.environment["mpi"].startswith("MPICH 4")


def test_a_launcher_of_another_mpi_makes_it_invalid(tmp_path: Path, debian: dict[str, Mpi]) -> None:
    program = built(debian["mpich"], tmp_path)
    launcher = "mpiexec.openmpi --oversubscribe --allow-run-as-root -n {tasks}"
    (one,) = measured(tmp_path, "--command", program, "--tasks", "2", "--repeat", "1", "--launcher", launcher)
    assert one.problems == ("it had 2 tasks, and MPI a world of 1: the launcher is not that of its MPI",)
    assert not one.usable


def test_a_missing_figure_of_merit_makes_it_invalid(tmp_path: Path) -> None:
    (one,) = measured(tmp_path, "--command", "echo nothing", "--fom", r"time (\d+)", "--repeat", "1")
    assert one.fom is None
    assert not one.valid
    assert one.problems[0].startswith("it failed (outputs)")


def test_a_hog_beside_it_marks_it_disturbed(tmp_path: Path) -> None:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        (one,) = measured(tmp_path, "--command", f"{compile_tool('dummy')} --duration 0.5", "--repeat", "1")
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert one.disturbed
    assert any(reason.startswith("other programs used") for reason in one.reasons)


def test_what_was_killed_is_continued_and_nothing_is_measured_twice(tmp_path: Path) -> None:
    words = ("--command", "sh -c 'echo x >> ../../../../../ledger; sleep 0.3'", "--repeat", "3")
    process = start(tmp_path, *words)
    ledger = tmp_path / "ledger"
    while not ledger.exists():
        assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = measured(tmp_path, *words)
    assert len(list((tmp_path / "study" / "measurements").glob("sh-here-command-1.*"))) == 3
    assert len(ledger.read_text().split()) == len(found)
    assert {one.iteration for one in found} == set(range(1, len(found) + 1))
