"""Patterns: fitted to good measurements only, asked only within what was measured, kept in a file."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from ensemble.cli.main import ensemble
from ensemble.model.errors import InputError
from ensemble.studies.measuring.measurement import Measurement
from ensemble.studies.patterns import fit_patterns, read_patterns, write_patterns

CELL = "lammps/debian/mpich"


def measurement(tasks=1, size=10, cell=CELL, **more):
    wall = 0.2 + size**3 * (0.0002 + 0.003 / tasks)
    more = {
        "wall": wall,
        "mpi_share": 0.05 * (tasks - 1),
        "hookup": 0.1,
        "digest": "sha256:1",
        "iteration": 1,
        "time": 0.0,
    } | more
    return Measurement(cell=cell, problem="melt", size=f"{size}", tasks=tasks, **more)


def grid():
    return [measurement(tasks, size) for size in (6, 8, 10) for tasks in (1, 2, 4)]


def test_the_power_with_which_work_grows_with_the_size_is_found():
    pattern = fit_patterns(grid()).find(CELL, "melt")
    assert pattern.power == 3
    assert pattern.predict(3, 9).seconds == pytest.approx(measurement(3, 9).wall)
    assert pattern.predict(3, 9).mpi_share == pytest.approx(0.1)


@pytest.mark.parametrize("bad", [{"disturbed": True}, {"valid": False}, {"digest": "sha256:0", "time": -1.0}])
def test_a_bad_measurement_is_counted_and_not_fitted(bad):
    pattern = fit_patterns([*grid(), measurement(2, 10, **{"wall": 100.0} | bad)]).find(CELL, "melt")
    assert pattern.predict(2, 10).seconds == pytest.approx(measurement(2, 10).wall)
    assert list(pattern.left_out.values()) == [1]


@pytest.mark.parametrize(("tasks", "size"), [(8, 10), (2, 12), (2, 5)])
def test_a_pattern_refuses_to_extrapolate_unless_it_is_told(tasks, size):
    pattern = fit_patterns(grid()).find(CELL, "melt")
    with pytest.raises(InputError, match="outside what was measured"):
        pattern.predict(tasks, size)
    assert pattern.predict(tasks, size, extrapolate=True).seconds == pytest.approx(measurement(tasks, size).wall)


def test_a_program_without_mpi_has_no_share():
    runs = [measurement(tasks, mpi_share=None) for tasks in (1, 2, 4)]
    assert fit_patterns(runs).find(CELL, "melt").predict(2).mpi_share is None


def test_patterns_are_read_as_they_were_written(tmp_path):
    patterns = fit_patterns(grid())
    write_patterns(tmp_path, patterns)
    assert read_patterns(tmp_path) == patterns


def save(study, measurements):
    (study / "measurements").mkdir(parents=True)
    for number, one in enumerate(measurements):
        (study / "measurements" / f"{number}.json").write_bytes(msgspec.json.encode(one))


def test_fit_and_show_on_the_command_line(tmp_path):
    save(tmp_path, [*grid(), measurement(1, cell="hpcc/debian/openmpi", disturbed=True)])
    fitted = CliRunner().invoke(ensemble, ["study", "fit", "--study", str(tmp_path)])
    assert fitted.exit_code == 1
    assert "hpcc/debian/openmpi melt: not fitted" in fitted.output
    assert "1 disturbed" in fitted.output
    shown = CliRunner().invoke(ensemble, ["study", "show", "--study", str(tmp_path)])
    assert "amdahl of 9 runs" in shown.output
    told = CliRunner().invoke(ensemble, ["study", "show", "--study", str(tmp_path), "--output", "json"])
    assert json.loads(told.output)["patterns"][0]["tasks"] == [1, 2, 4]


def test_a_file_that_is_no_measurement_is_named(tmp_path):
    save(tmp_path, [])
    (tmp_path / "measurements" / "x.json").write_text('{"cell": 3}')
    done = CliRunner().invoke(ensemble, ["study", "fit", "--study", str(tmp_path)])
    assert "x.json is not a measurement" in str(done.exception)
