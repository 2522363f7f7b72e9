from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.model.errors import InputError
from ensemble.studies.measuring.measurement import Figure, Measurement, MpiCall, measurements, write_measurement

ONE = Measurement(
    cell="lammps/debian/mpich",
    problem="melt",
    tasks=2,
    iteration=1,
    wall=0.87,
    fom=Figure("loop_time", 0.87, "s"),
    mpi_share=0.046,
    mpi_calls=(MpiCall("MPI_Send", 10, 0.01, 4096),),
    time=1.0,
)


def test_a_measurement_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "measurements").mkdir()
    write_measurement(ONE, tmp_path / "measurements" / "one.json")
    assert list(measurements(tmp_path)) == [ONE]


@pytest.mark.parametrize(
    ("text", "says"), [("{", "is not a measurement"), ('{"format": 1}', "missing required field"), (None, "format 2")]
)
def test_a_damaged_or_newer_file_is_refused_by_name(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "measurements" / "one.json"
    path.parent.mkdir()
    write_measurement(ONE, path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2') if text is None else text)
    with pytest.raises(InputError, match=says) as raised:
        list(measurements(tmp_path))
    assert str(path) in str(raised.value)
