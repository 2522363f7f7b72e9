"""Parameters: which points each form makes, and what is refused before anything is built."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.errors import InputError
from ensemble.spec.axes import LARGEST_SWEEP
from ensemble.spec.parameters import expand


def values(parameters: dict[str, Any], axis: str = "x", seed: int = 7) -> list[Any]:
    return [point[axis] for point in expand(parameters, seed)[1]]


def test_no_parameters_make_one_empty_point() -> None:
    assert expand({}, 0) == ((), ({},))


def test_a_grid_is_each_with_each_and_the_last_axis_is_fastest() -> None:
    axes, points = expand({"T": [0.8, 1.1], "m": ["a", True]}, 0)
    assert axes == ("T", "m")
    assert [tuple(point.values()) for point in points] == [(0.8, "a"), (0.8, True), (1.1, "a"), (1.1, True)]
    assert expand({"grid": {"T": [1]}}, 0) == expand({"T": [1]}, 0) == expand({"method": "grid", "T": [1]}, 0)


@pytest.mark.parametrize(
    ("given_range", "expected"),
    [
        ({"from": 1, "to": 4}, [1, 2, 3, 4]),
        ({"from": 3, "to": 1}, [3, 2, 1]),
        ({"from": 1, "to": 8, "step": 3}, [1, 4, 7]),
        ({"from": 0, "to": 0.3, "step": 0.1}, [0, 0.1, 0.2, 0.3]),
        ({"from": 1, "to": 0, "step": -0.5}, [1.0, 0.5, 0.0]),
        ({"from": 0, "to": 1, "steps": 5}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"from": 1, "to": 10, "steps": 4}, [1, 4, 7, 10]),
        ({"from": 1, "to": 1000, "steps": 4, "scale": "log"}, [1, 10, 100, 1000]),
        ({"from": 5, "to": 5}, [5]),
        ({"from": 5, "to": 9, "steps": 1}, [5]),
    ],
)
def test_a_range_includes_both_ends_without_the_dust_of_binary_fractions(
    given_range: dict[str, Any], expected: list[Any]
) -> None:
    found = values({"x": given_range})
    assert [(value, repr(float(value))) for value in found] == [(value, repr(float(value))) for value in expected]


@given(st.integers(-50, 50), st.integers(1, 40), st.sampled_from((0.1, 0.01, 0.05, 0.3, 1e-3)))
def test_a_range_with_a_step_that_fits_has_its_last_value(start: int, number: int, step: float) -> None:
    found = values({"x": {"from": start * step, "to": (start + number) * step, "step": step}})
    assert len(found) == number + 1
    assert found[-1] == pytest.approx((start + number) * step, abs=1e-11)


def test_in_a_grid_one_value_needs_no_list() -> None:
    assert expand({"T": [0.8, 1.1], "m": "a b", "N": 4, "f": True}, 0) == expand(
        {"T": [0.8, 1.1], "m": ["a b"], "N": [4], "f": [True]}, 0
    )
    assert expand({"samples": [1, 2]}, 0)[0] == ("samples",)


def test_zip_goes_first_with_first() -> None:
    assert expand({"zip": {"a": [1, 2], "b": ["x", "y"]}}, 0)[1] == ({"a": 1, "b": "x"}, {"a": 2, "b": "y"})


def test_list_gives_each_point_as_it_is_with_the_axes_in_one_order() -> None:
    axes, points = expand({"list": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}, 0)
    assert axes == ("a", "b")
    assert [list(point.items()) for point in points] == [[("a", 1), ("b", 2)], [("a", 3), ("b", 4)]]
    assert expand({"method": "list", "points": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}, 0) == (axes, points)


def test_an_axis_may_bear_the_name_of_a_method() -> None:
    assert expand({"method": ["a", "b"], "list": [1]}, 0)[0] == ("method", "list")
    assert expand({"zip": [1, 2]}, 0)[0] == ("zip",)


def test_an_axis_may_be_called_lambda_since_no_python_reads_it() -> None:
    assert expand({"lambda": [1]}, 0)[0] == ("lambda",)


SPACE = {
    "x": {"from": -1, "to": 1},
    "k": {"from": 1e-3, "to": 1, "scale": "log"},
    "n": {"from": 1, "to": 4, "integer": True},
    "m": {"choice": ["a", "b"]},
}


@pytest.mark.parametrize("method", ["random", "latin-hypercube", "sobol"])
def test_a_sample_stays_within_its_axes_and_follows_from_the_seed(method: str) -> None:
    if method == "sobol":
        pytest.importorskip("scipy", reason="sobol needs scipy")
    axes, points = expand({method: {"samples": 50, **SPACE}}, 7)
    assert axes == ("x", "k", "n", "m")
    assert len(points) == 50
    for point in points:
        assert -1 <= point["x"] <= 1  # type: ignore[operator]
        assert 1e-3 <= point["k"] <= 1  # type: ignore[operator]
        assert type(point["x"]) is type(point["k"]) is float
        assert point["n"] in (1, 2, 3, 4)
        assert type(point["n"]) is int
        assert point["m"] in ("a", "b")
    assert {point["n"] for point in points} == {1, 2, 3, 4}
    assert expand({"method": method, "samples": 50, **SPACE}, 7) == (axes, points)
    assert expand({method: {"samples": 50, **SPACE}}, 8) != (axes, points)


def test_samples_are_the_same_on_every_python() -> None:
    assert values({"random": {"samples": 3, "x": {"from": 0, "to": 1}}}) == [
        0.323832764833,
        0.150849173925,
        0.65093447304,
    ]
    assert values({"latin-hypercube": {"samples": 4, "x": {"from": 0, "to": 1}}}) == [
        *(0.518109071667, 0.883970501077, 0.0914222292281, 0.264499731194)
    ]


@given(st.integers(1, 60), st.integers(0, 2**64))
def test_a_latin_hypercube_has_one_point_in_each_stratum_of_every_axis(samples: int, seed: int) -> None:
    space = {"a": {"from": 0, "to": samples}, "b": {"from": 0, "to": samples}}
    points = expand({"latin-hypercube": {"samples": samples, **space}}, seed)[1]
    for axis in space:
        # A hair off each edge: values have 12 digits and may be rounded onto it.
        found = sorted(float(point[axis]) for point in points)
        assert all(index - 1e-9 <= value <= index + 1 + 1e-9 for index, value in enumerate(found))


def test_a_log_scale_is_even_in_the_logarithm() -> None:
    found = values({"latin-hypercube": {"samples": 30, "x": {"from": 1e-3, "to": 1, "scale": "log"}}})
    assert [sum(-3 + d <= math.log10(value) < -2 + d for value in found) for d in range(3)] == [10, 10, 10]


def test_a_point_drawn_twice_stays_so_that_samples_are_points() -> None:
    assert len(values({"random": {"samples": 9, "x": {"choice": ["a"]}}})) == 9


def test_any_number_of_sobol_points_is_a_prefix_and_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    pytest.importorskip("scipy", reason="sobol needs scipy")
    space = {"x": {"from": 0, "to": 1}}
    assert values({"sobol": {"samples": 5, **space}}) == values({"sobol": {"samples": 8, **space}})[:5]
    assert len(values({"sobol": {"samples": 1, **space}})) == 1
    assert not recwarn.list


def test_sobol_without_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(InputError, match=r"ensemble-hpc\[sobol\]"):
        expand({"sobol": {"samples": 4, "x": {"from": 0, "to": 1}}}, 0)


def test_sobol_with_a_negative_seed_is_refused() -> None:
    pytest.importorskip("scipy", reason="scipy is not installed")
    with pytest.raises(InputError, match="seed of 0 or more"):
        expand({"sobol": {"samples": 4, "x": {"from": 0, "to": 1}}}, -1)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ([1], "must be a mapping"),
        ({"zip": {"x": 3}}, r"for one value write \[3\]"),
        ({"x": "0.8, 1.1"}, "for several values write a list"),
        ({"samples": 20, "x": {"from": 0, "to": 1}}, "samples goes with a method"),
        ({"x": None}, "nothing"),
        ({"x": []}, "x has no values"),
        ({"x": [None]}, "not nothing"),
        ({"x": [[1]]}, "not a list"),
        ({"x": [{"a": 1}]}, "not a mapping"),
        ({"x": [math.nan]}, "finite number.*nan"),
        ({"x": [math.inf]}, "finite number.*inf"),
        ({"x": [10**400]}, "too large"),
        ({"x": [1, 1.0]}, "appears twice"),
        ({"seed": [1]}, "every job has a {seed} already"),
        ({"run": [1]}, "every job has"),
        ({"a-b": [1]}, "cannot be the name of an axis"),
        ({"nan": [1]}, "cannot be the name of an axis"),
        ({1: [1]}, "cannot be the name of an axis"),
        ({"größe": [1]}, "cannot be the name of an axis"),
        ({"x": {"from": 0}}, "'to' is missing"),
        ({"x": {"from": 0, "to": 1, "stop": 3}}, "did you mean step"),
        ({"x": {"from": 0, "to": 1, "step": 1, "steps": 3}}, "both step and steps"),
        ({"x": {"from": 0, "to": 1, "scale": "log"}}, "scale goes with steps"),
        ({"x": {"from": 0, "to": 1, "steps": 3, "scale": "log"}}, "above 0"),
        ({"x": {"from": 0, "to": 1, "steps": 3, "scale": "cubic"}}, "linear or log"),
        ({"x": {"from": 0, "to": 1, "steps": 2.5}}, "whole number above 0"),
        ({"x": {"from": 0, "to": 1, "step": 0}}, "never leads"),
        ({"x": {"from": 0, "to": 1, "step": -1}}, "never leads"),
        ({"x": {"from": "a", "to": 1}}, "must be a number, not text 'a'"),
        ({"x": {"from": True, "to": 1}}, "must be a number, not true"),
        ({"zip": {"a": [1, 2], "b": [1]}}, "a has 2, b has 1"),
        ({"zip": {}}, "zip needs a mapping"),
        ({"list": {"a": 1}}, "list needs a list"),
        ({"list": [{"a": 1}, {"b": 2}]}, "point 2 has the axes b; the first has a"),
        ({"list": [{"a": 1}, 3]}, "point 2 must be a mapping"),
        ({"list": [{"a": 1}, {"a": 1}]}, "appears twice"),
        ({"list": [], "method": "list"}, "takes 'points'"),
        ({"method": "list", "points": []}, "makes no points"),
        ({"method": "lists", "x": [1]}, "did you mean list"),
        ({"randon": {"samples": 3, "x": {"from": 0, "to": 1}}}, "did you mean random"),
        ({"zip": {"a": [1]}, "b": [1]}, "stands alone"),
        ({"random": {"x": {"from": 0, "to": 1}}}, "needs `samples`"),
        ({"random": 3}, "needs samples and axes"),
        ({"random": {"samples": 3}}, "no axes"),
        ({"random": {"samples": 0, "x": [1]}}, "above 0"),
        ({"random": {"samples": True, "x": [1]}}, "above 0"),
        ({"random": {"samples": 3, "x": 5}}, r"needs \{from, to\} or"),
        ({"random": {"samples": 3, "x": {"from": 2, "to": 1}}}, "is above"),
        ({"random": {"samples": 3, "x": {"from": 0.2, "to": 0.8, "integer": True}}}, "no whole number"),
        ({"random": {"samples": 3, "x": {"from": 1, "to": 8, "integer": 1}}}, "true or false"),
        ({"random": {"samples": 3, "x": {"choice": [1], "to": 3}}}, "unknown key 'to'"),
        ({"function": 3}, "module:name"),
        ({"function": "no_such_module:f"}, "No module named"),
        ({"function": "nosuch.py:f"}, "FileNotFoundError"),
        ({"function": "math:nosuch"}, "no function 'nosuch'"),
        ({"function": "math:sqrt"}, "failed: TypeError"),
        ({"function": "os:getcwd"}, "needs a list of points"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(parameters: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        expand(parameters, 0)


@pytest.mark.parametrize(
    "parameters",
    [
        {name: list(range(100)) for name in "abcdefghijklmnop"},
        {"x": {"from": 0, "to": 1e9, "step": 0.1}},
        {"x": {"from": -1e308, "to": 1e308, "step": 1e-300}},
        {"x": {"from": 0, "to": 1, "steps": 10**15}},
        {"random": {"samples": 10**400, "x": {"from": 0, "to": 1}}},
        {"random": {"samples": LARGEST_SWEEP, **{f"x{n}": {"from": 0, "to": 1} for n in range(30)}}},
        {"list": [{"a": 1}] * (LARGEST_SWEEP + 1)},
    ],
)
def test_too_many_points_are_refused_before_any_is_built(parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"at most [0-9,]+ are made"):
        expand(parameters, 0)


# Functions


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "sweep.py").write_text(
        "import itertools\n"
        "class Like(float):\n"
        "    def item(self): return float(self)\n"
        "def points(): return [{'a': Like(1.5), 'b': 'x'}]\n"
        "def seeded(seed): return ({'a': seed + n} for n in range(2))\n"
        "def endless(): return ({'a': n} for n in itertools.count())\n"
        "def raising(): raise ValueError('bad luck')\n"
        "def leaving(): raise SystemExit(3)\n"
        "def late():\n"
        "    yield {'a': 1}\n"
        "    raise ValueError('in the middle')\n"
    )
    (tmp_path / "broken.py").write_text("def points(:\n")
    return str(tmp_path)


def test_a_function_beside_the_file_gives_points_as_plain_values(directory: str) -> None:
    axes, points = expand({"function": "sweep.py"}, 0, directory)
    assert (axes, points) == (("a", "b"), ({"a": 1.5, "b": "x"},))
    assert type(points[0]["a"]) is float
    assert expand({"function": "sweep.py:points"}, 0, directory) == (axes, points)
    assert expand({"method": "function", "function": "sweep:points"}, 0, directory) == (axes, points)
    assert directory not in sys.path


def test_a_function_that_wants_it_gets_the_seed(directory: str) -> None:
    assert expand({"function": "sweep.py:seeded"}, 5, directory)[1] == ({"a": 5}, {"a": 6})


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("sweep.py:raising", "failed: ValueError: bad luck"),
        ("sweep.py:leaving", "failed: SystemExit"),
        ("sweep.py:late", "failed: ValueError: in the middle"),
        ("sweep.py:endless", "at most 1,000,000"),
        ("sweep.py:nosuch", "no function 'nosuch'"),
        ("sweep.py:itertools", "no function 'itertools'"),
        ("broken.py", "failed: SyntaxError"),
    ],
)
def test_a_function_that_fails_is_an_error_that_says_how(target: str, words: str, directory: str) -> None:
    with pytest.raises(InputError, match=words):
        expand({"function": target}, 0, directory)
