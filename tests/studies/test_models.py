"""Models of strong scaling find again what their data were made with, and choose the simplest that will do."""

from random import Random

import pytest

from ensemble.model.errors import InputError
from ensemble.studies.models import evaluate, fit

GRID = [(work, tasks) for work in (10.0, 20.0, 40.0) for tasks in (1, 2, 4, 8, 16)]


def amdahl(work, tasks):
    return 0.4 + work * (0.02 + 0.3 / tasks)


def usl(work, tasks):
    return work * (1 / tasks + 0.05 * (tasks - 1) / tasks + 0.004 * (tasks - 1))


def downey(work, tasks):
    parallelism, variance = 6.0, 0.5
    if tasks <= parallelism:
        return work * (parallelism + variance / 2 * (tasks - 1)) / (parallelism * tasks)
    if tasks <= 2 * parallelism - 1:
        return work * (variance * (parallelism - 0.5) + tasks * (1 - variance / 2)) / (parallelism * tasks)
    return work / parallelism


def fitted(law, noise=0.0, seed=1):
    random = Random(seed)
    seconds = [law(work, tasks) * (1 + noise * random.gauss(0, 1)) for work, tasks in GRID]
    return fit([work for work, _ in GRID], [tasks for _, tasks in GRID], seconds)


def test_the_coefficients_of_amdahl_are_recovered():
    found = fitted(amdahl)
    assert found.law == "amdahl"
    assert found.coefficients == pytest.approx({"parallel": 0.3, "start-up": 0.4, "serial": 0.02})


def test_usl_is_chosen_for_data_of_usl_and_its_coefficients_are_recovered():
    found = fitted(usl, noise=1e-4)
    assert found.law == "usl"
    assert found.coefficients["parallel"] == pytest.approx(1, rel=0.01)
    assert found.coefficients["contention"] == pytest.approx(0.05, rel=0.05)
    assert found.coefficients["coherency"] == pytest.approx(0.004, rel=0.05)


def test_downey_is_chosen_for_data_of_downey_and_its_parameters_are_recovered():
    found = fitted(downey, noise=1e-3)
    assert found.law == "downey"
    assert found.shape == pytest.approx((6.0, 0.5), rel=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_noise_makes_nobody_choose_a_richer_model(seed):
    assert fitted(amdahl, noise=0.03, seed=seed).law == "amdahl"


def test_nineteen_of_twenty_new_runs_lie_in_the_interval():
    inside = 0
    for seed in range(200):
        random = Random(1000 + seed)
        expected = evaluate(fitted(amdahl, noise=0.03, seed=seed), 30, 6)
        inside += expected.low <= amdahl(30, 6) * (1 + 0.03 * random.gauss(0, 1)) <= expected.high
    assert 180 <= inside <= 198


def test_terms_that_the_runs_cannot_tell_apart_are_left_out():
    found = fit([1.0] * 4, [1, 1, 2, 2], [1.0, 1.01, 0.6, 0.61])
    assert found.coefficients["serial"] == 0
    assert evaluate(found, 1, 1).seconds == pytest.approx(1.005, rel=1e-3)


@pytest.mark.parametrize(("seconds", "said"), [([1.0], "at least two"), ([1.0, 0.0], "above 0")])
def test_what_no_model_can_be_fitted_to_is_refused(seconds, said):
    with pytest.raises(InputError, match=said):
        fit([1.0] * len(seconds), [1] * len(seconds), seconds)
