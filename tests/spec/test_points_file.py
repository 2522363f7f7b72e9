"""Points from a CSV file: a row is a point, a column is an axis, and what is wrong has its line and column."""

import pytest
from msgspec import convert, to_builtins

from ensemble.model.errors import InputError, SpecError
from ensemble.spec.loader import load
from ensemble.spec.model import EnsembleSpec
from ensemble.spec.parameters import expand


def points(tmp_path, text):
    (tmp_path / "points.csv").write_text(text)
    return expand({"from": "points.csv"}, 0, str(tmp_path))


def test_values_are_read_as_yaml_reads_them(tmp_path):
    axes, found = points(tmp_path, 'T, N,solver,fast,tag\n0.8,1,cg,true,"1"\n1e3, 2 ,"a, ""b""",false,yes\n\n')
    assert axes == ("T", "N", "solver", "fast", "tag")
    assert found == (
        {"T": 0.8, "N": 1, "solver": "cg", "fast": True, "tag": "1"},
        {"T": 1000.0, "N": 2, "solver": 'a, "b"', "fast": False, "tag": "yes"},
    )
    assert type(found[0]["N"]) is int


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_value(tmp_path):
    (tmp_path / "points.csv").write_bytes(b"\xef\xbb\xbfT,N\r\n1,2\r\n")
    assert expand({"from": "points.csv"}, 0, str(tmp_path)) == (("T", "N"), ({"T": 1, "N": 2},))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "points.csv is empty; its first row must name the axes"),
        ("T,N\n", "points.csv has no row below the names of the axes"),
        ("T,2N\n1,2\n", "points.csv:1:3: '2N' cannot be the name of an axis; use letters, digits and _"),
        ("T;N\n1;2\n", "points.csv:1:1: 'T;N' cannot be the name of an axis; use letters, digits and _"),
        ("T,seed\n1,2\n", "points.csv:1:3: every job has a {seed} already; call the axis something else"),
        ("T,N,T\n1,2,3\n", "points.csv:1:5: there is a column 'T' already"),
        ("T,N\n1,2\n3\n", "points.csv:3:1: the row has 1 value for 2 columns"),
        ("T,N\n1,2,3\n", "points.csv:2:5: the row has 3 values for 2 columns"),
        ("T,N\n1,2\n3,\n", "points.csv:3:3: there is no value of N here"),
        ("T,N\n1,.inf\n", "points.csv:2:3: a value of N must be a finite number, text, true or false, not inf"),
        ("T,N\n1,2\n\n1.0,2\n", "points.csv:4:1: line 2 is the same point; `count` repeats the jobs of a point"),
        ('T,N\n1,"2\n', "points.csv:2:3: this quote is never closed"),
        ('T,N\n"1"x,2\n', "points.csv:2:4: a comma is expected after a value in quotes"),
        ('T,N\n"a\nb",2\n3,\n', "points.csv:4:3: there is no value of N here"),
    ],
)
def test_what_is_wrong_has_its_line_and_column(tmp_path, text, message):
    with pytest.raises(InputError) as refused:
        points(tmp_path, text)
    assert str(refused.value) == message


def test_the_place_in_the_ensemble_file_comes_first(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("jobs:\n  - {name: a, command: 'echo {T}', parameters: {from: point.csv}}\n")
    with pytest.raises(SpecError) as refused:
        load(file)
    assert f"{file}:2:48: jobs[0].parameters: point.csv: no such file beside the ensemble file" in str(refused.value)


def test_a_file_of_points_stands_alone():
    with pytest.raises(InputError, match="stands alone"):
        expand({"from": "points.csv", "T": [1, 2]}, 0)


def test_the_rows_stay_with_the_run(tmp_path):
    (tmp_path / "points.csv").write_text("T\n1\n2\n")
    (tmp_path / "study.yaml").write_text("jobs: [{name: a, command: 'echo {T}', parameters: {from: points.csv}}]\n")
    spec = load(tmp_path / "study.yaml")
    (tmp_path / "points.csv").unlink()
    again = convert(to_builtins(spec), EnsembleSpec)
    assert again.jobs[0].points == ({"T": 1}, {"T": 2})
