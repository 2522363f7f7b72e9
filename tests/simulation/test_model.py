"""How jobs go: what `simulate` may say, what is assumed where it says nothing, and what is refused."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from ensemble.model.errors import InputError
from ensemble.model.jobs import AttemptRef, JobSpec, Resources
from ensemble.simulation.model import Fate, JobModel, Recorded, Sample, compile_model
from ensemble.simulation.programs import known_run


def job(simulate: dict[str, Any] | None = None, command: str = "app", **fields: Any) -> JobSpec:
    words = tuple(command.split())
    ref = AttemptRef("run", "melt-0", fields.pop("attempt", 1))
    return JobSpec(ref, "melt", "/work", words, duration=simulate or {}, **fields)


def model(simulate: dict[str, Any] | None = None, command: str = "app", **fields: Any) -> JobModel:
    return compile_model(job(simulate, command, **fields))


def drawn(of: JobModel, count: int = 4000) -> list[Fate]:
    return [of.fate(Random(seed)) for seed in range(count)]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (12, 12.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("100 / N", 25.0),
        ("walltime * 0.5 + tasks", 32.0),
        ("attempt * 10 + nodes + cores + gpus", 14.0),
        ({"distribution": "constant", "value": "2 * N"}, 8.0),
        ({"distribution": "constant", "value": "2m"}, 120.0),
        ({"recorded": [3]}, 3.0),
    ],
)
def test_a_duration_is_a_number_a_time_an_expression_or_a_distribution(duration: Any, seconds: float) -> None:
    of = model({"duration": duration}, point={"N": 4}, walltime=60.0, resources=Resources(nodes=2, tasks=2, gpus=1))
    assert of.fate(Random(1)).duration == seconds


def test_nothing_left_to_chance_needs_no_draw() -> None:
    assert model({"duration": 12, "figures": {"p": 3}}).fixed == Fate(12.0, figures={"p": 3.0})
    assert model({"duration": 12, "noise": 0.1}).fixed is None
    assert model({"duration": 12, "failure_rate": 0.1}).fixed is None


@pytest.mark.parametrize(
    ("given", "seconds", "basis"),
    [
        (job(command="sleep 5"), 5.0, "the command"),
        (job(walltime=100.0), 50.0, "50% of the walltime"),
        (job(), 10.0, "nothing: 10 s"),
        (job({"duration": 1}, "sleep 5"), 1.0, "simulate.duration"),
    ],
)
def test_without_a_model_it_is_the_command_then_the_walltime_then_ten_seconds(
    given: JobSpec, seconds: float, basis: str
) -> None:
    of = compile_model(given)
    assert (of.fate(Random(1)).duration, of.basis) == (seconds, basis)


@pytest.mark.parametrize(
    ("command", "script", "expected"),
    [
        (["sleep", "2.5"], "", (2.5, 0)),
        (["/usr/bin/sleep", "1m", "5s"], "", (65.0, 0)),
        (["true"], "", (0.0, 0)),
        (["/bin/false"], "", (0.0, 1)),
        (["echo", "done"], "", (0.0, 0)),
        (["echo", "$(app)"], "", None),
        (["sleep", "soon"], "", None),
        (["app"], "", None),
        (["sh", "-c", "sleep 1; exit 3"], "", (1.0, 3)),
        (["sh", "-c", "sleep 1 && app"], "", None),
        ([], "# wait\nsleep 1\nfalse\nsleep 9\n", (1.0, 1)),
        ([], "sleep 1\necho 'a b'\n", (1.0, 0)),
        ([], "sleep 1\nexit\n", None),
        ([], "echo 'a\n", None),
        ([], "for i in 1 2\ndo sleep 1\ndone\n", None),
    ],
)
def test_programs_everybody_knows_take_as_long_as_they_say(
    command: list[str], script: str, expected: tuple[float, int] | None
) -> None:
    assert known_run(command, script) == expected


def test_a_command_known_to_fail_fails_and_takes_its_time() -> None:
    of = model(command="sh -c x", script="sleep 2\nexit 3")
    assert drawn(of, 3) == [Fate(2.0, "exit", 3)] * 3


def test_failures_come_as_often_as_their_rate_and_within_the_duration() -> None:
    fates = drawn(model({"duration": 10, "failure_rate": {"exit": 0.2, "signal": 0.1}, "exit_code": 4}))
    by_exit = [fate for fate in fates if fate.reason == "exit"]
    by_signal = [fate for fate in fates if fate.reason == "signal"]
    assert len(by_exit) / len(fates) == pytest.approx(0.2, abs=0.02)
    assert len(by_signal) / len(fates) == pytest.approx(0.1, abs=0.02)
    assert {(fate.exit_code, fate.signal) for fate in by_exit} == {(4, 0)}
    assert {(fate.exit_code, fate.signal) for fate in by_signal} == {(-1, 9)}
    assert all(0 <= fate.duration < 10 for fate in by_exit)
    assert {fate.duration for fate in fates if not fate.reason} == {10.0}


def test_how_long_a_failure_takes_can_be_said() -> None:
    fates = drawn(model({"duration": 10, "failure_rate": 0.5, "failure_after": 3}), 100)
    assert {fate.duration for fate in fates if fate.reason} == {3.0}


def test_noise_keeps_the_mean_and_is_never_negative() -> None:
    fates = drawn(model({"duration": 10, "noise": 0.2}))
    durations = [fate.duration for fate in fates]
    assert sum(durations) / len(durations) == pytest.approx(10, rel=0.02)
    assert min(drawn(model({"duration": 10, "noise": 2.0})), key=lambda fate: fate.duration).duration == 0.0


def test_figures_follow_the_point() -> None:
    of = model(
        {"duration": 1, "figures": {"p": {"distribution": "normal", "mean": "2 * T", "std": 0.1}, "T": "T"}},
        point={"T": 1.5},
    )
    figures = [fate.figures for fate in drawn(of, 1000)]
    assert all(figure is not None and figure["T"] == 1.5 for figure in figures)
    assert sum(figure["p"] for figure in figures if figure) / 1000 == pytest.approx(3.0, abs=0.02)
    assert of.figures == ("p", "T")


def test_what_was_recorded_is_drawn_whole_with_its_figures_and_its_failures() -> None:
    known = Recorded([Sample(3.0, {"p": 30.0}), Sample(4.0, {"p": 40.0})], {"signal": [1.0], "exit": [2.0]})
    of = compile_model(job({"duration": 99}), known)
    fates = drawn(of)
    good = [fate for fate in fates if not fate.reason]
    assert all(fate.figures == {"p": fate.duration * 10} for fate in good)
    assert len(good) / len(fates) == pytest.approx(0.5, abs=0.03)
    assert {fate.duration for fate in fates if fate.reason} == {1.0, 2.0}


@pytest.mark.parametrize(
    ("simulate", "said"),
    [
        ({"duraton": 3}, "simulate.duraton: there is no such key; did you mean 'duration'?"),
        ({"duration": -1}, "simulate.duration: -1 is below 0"),
        ({"duration": True}, "a number, an expression or a mapping is needed, not True"),
        ({"duration": [1]}, "not [1]"),
        ({"duration": "100 / M"}, "there is no 'M' here"),
        ({"duration": "100 / (N - 4)"}, "'100 / (N - 4)' has no value for N = 4"),
        ({"duration": "N > 3"}, "has no value"),
        ({"duration": "100 /"}, "simulate.duration: "),
        ({"duration": float("nan")}, "nan is not a finite number"),
        ({"duration": {"mean": 3}}, "a mapping needs `distribution` or `recorded`"),
        ({"duration": {"distribution": "normal", "mean": 3}}, "a normal distribution needs `std`"),
        ({"duration": {"distribution": "normal", "mean": "Q", "std": 1}}, "simulate.duration.mean: there is no 'Q'"),
        ({"duration": {"recorded": "last"}}, "`recorded` is a list of numbers (or, for the duration, a run) by itself"),
        ({"duration": {"recorded": []}}, "`recorded` holds no value"),
        ({"duration": 1, "failure_rate": 1.5}, "1.5 is above 1; it is a part of all attempts"),
        ({"duration": 1, "failure_rate": {"exit": 0.6, "signal": 0.6}}, "1.2 is above 1"),
        ({"duration": 1, "failure_rate": {"walltime": 0.6}}, "'walltime' is not one of exit, signal"),
        ({"duration": 1, "exit_code": 0}, "a whole number from 1 to 255 is needed, not 0"),
        ({"duration": 1, "exit_code": 1.5}, "a whole number from 1 to 255 is needed, not 1.5"),
        ({"duration": 1, "figures": 3}, "simulate.figures: a mapping is needed, not 3"),
        ({"duration": 1, "figures": {"p": "x"}}, "simulate.figures.p: there is no 'x' here"),
    ],
)
def test_what_makes_no_model_is_refused_with_group_and_place(simulate: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        model(simulate, point={"N": 4})
    assert str(error.value).startswith("group melt: simulate.")
    assert said in str(error.value)
