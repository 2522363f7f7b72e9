"""Draws: what is drawn has the distribution it says, and is the same wherever and in whatever order it is drawn."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from random import Random
from typing import Any

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.errors import InputError
from ensemble.simulation.draws import DISTRIBUTIONS, distribution, group_seed, job_seed, recorded

KNOWN: list[tuple[str, dict[str, float], Any]] = [
    ("uniform", {"min": 2, "max": 5}, scipy.stats.uniform(2, 3)),
    ("triangular", {"min": 2, "mode": 3, "max": 7}, scipy.stats.triang(0.2, 2, 5)),
    ("triangular", {"min": 2, "mode": 7, "max": 7}, scipy.stats.triang(1.0, 2, 5)),
    ("normal", {"mean": 10, "std": 2}, scipy.stats.norm(10, 2)),
    ("normal", {"mean": -10, "cv": 0.2}, scipy.stats.norm(-10, 2)),
    ("lognormal", {"median": 10, "sigma": 0.5}, scipy.stats.lognorm(0.5, scale=10)),
    ("exponential", {"mean": 4}, scipy.stats.expon(0, 4)),
    ("exponential", {"mean": 4, "min": 1}, scipy.stats.expon(1, 3)),
    ("weibull", {"shape": 1.5, "scale": 3}, scipy.stats.weibull_min(1.5, scale=3)),
    ("gamma", {"shape": 3, "scale": 2}, scipy.stats.gamma(3, scale=2)),
    ("gamma", {"shape": 0.5, "scale": 2}, scipy.stats.gamma(0.5, scale=2)),
]


@pytest.mark.parametrize(("name", "parameters", "truth"), KNOWN)
def test_draws_follow_the_distribution_they_are_called(name: str, parameters: dict[str, float], truth: Any) -> None:
    draw, random = distribution(name, parameters), Random(5)
    values = [draw(random.random) for _ in range(20_000)]
    # a fixed seed: this either holds or it does not
    assert scipy.stats.kstest(values, truth.cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("name", "parameters", "mean", "std"),
    [
        ("lognormal", {"mean": 10, "cv": 0.3}, 10, 3),
        ("lognormal", {"mean": 10, "std": 3}, 10, 3),
        ("gamma", {"mean": 10, "cv": 0.3}, 10, 3),
        ("gamma", {"mean": 10, "std": 3}, 10, 3),
        ("gamma", {"mean": 10, "shape": 4}, 10, 5),
        ("weibull", {"mean": 10, "shape": 1}, 10, 10),
    ],
)
def test_parameters_by_mean_and_spread_give_that_mean_and_spread(
    name: str, parameters: dict[str, float], mean: float, std: float
) -> None:
    draw, random = distribution(name, parameters), Random(5)
    values = [draw(random.random) for _ in range(50_000)]
    average = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - average) ** 2 for value in values) / len(values))
    assert average == pytest.approx(mean, rel=0.02)
    assert spread == pytest.approx(std, rel=0.03)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(0, 2**32))
def test_a_recorded_draw_is_one_of_the_values(values: list[float], seed: int) -> None:
    assert recorded(values)(Random(seed).random) in values


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@given(low=st.floats(0.01, 100), more=st.floats(0.01, 100), seed=st.integers(0, 2**32))
def test_every_draw_is_a_finite_number(name: str, low: float, more: float, seed: int) -> None:
    parameters = {
        "constant": {"value": low},
        "uniform": {"min": low, "max": low + more},
        "triangular": {"min": low, "mode": low, "max": low + more},
        "normal": {"mean": low, "std": more},
        "lognormal": {"mean": low, "std": more},
        "exponential": {"mean": low},
        "weibull": {"shape": 0.1 + more, "scale": low},
        "gamma": {"shape": more, "scale": low},
    }[name]
    assert math.isfinite(distribution(name, parameters)(Random(seed).random))


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("lognoraml", {}, "there is no distribution 'lognoraml'; did you mean 'lognormal'?"),
        ("cauchy", {}, "there is constant, uniform"),
        ("normal", {"mean": 1}, "a normal distribution needs `std`"),
        ("normal", {"mean": 1, "std": -1}, "`std` of a normal distribution must not be negative; it is -1"),
        ("normal", {"mean": 1, "std": 1, "sd": 1}, "a normal distribution has no `sd`; it has mean, std"),
        ("lognormal", {"mean": 0, "cv": 1}, "`mean` of a lognormal distribution must be above 0, not 0"),
        ("uniform", {"min": 2, "max": 1}, "max 1 is below min 2"),
        ("triangular", {"min": 1, "mode": 5, "max": 2}, "mode 5 does not lie from min 1 to max 2"),
        ("exponential", {"mean": 1, "min": 2}, "mean 1 is below min 2"),
        ("gamma", {"scale": 1}, "needs `shape`"),
        ("weibull", {"shape": 0, "scale": 1}, "must be above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(name: str, parameters: dict[str, float], said: str) -> None:
    with pytest.raises(InputError) as error:
        distribution(name, parameters)
    assert said in str(error.value)


def test_no_value_recorded_is_refused() -> None:
    with pytest.raises(InputError):
        recorded([])


def test_seeds_of_jobs_differ_and_say_the_same_under_every_hash_seed() -> None:
    seeds = {
        job_seed(group_seed(seed, group), number, attempt)
        for seed in range(3)
        for group in ("a", "b")
        for number in range(50)
        for attempt in range(1, 5)
    }
    assert len(seeds) == 3 * 2 * 50 * 4
    code = (
        "from random import Random; from ensemble.simulation.draws import *;"
        "r = Random(job_seed(group_seed(7, 'melt'), 12, 2));"
        "print([distribution('gamma', {'mean': 10, 'cv': 0.3})(r.random) for _ in range(3)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1
    # what a seed gave once it gives for ever: recorded simulations and their papers depend on it
    assert json.loads(said.pop()) == pytest.approx([6.793825889094625, 15.080951754208975, 5.472386999203741])
