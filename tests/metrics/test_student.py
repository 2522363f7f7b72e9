"""Student's t against references of other people's making."""

import math

import pytest

from ensemble.metrics import student_975


@pytest.mark.parametrize("degrees", [*range(1, 61), 80, 100, 1000, 10**4, 10**6, 10**9])
def test_t_agrees_with_scipy(degrees):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed: t checked against its density only")
    assert student_975(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-7)


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 10, 30, 31, 40, 200])
def test_the_density_up_to_t_holds_47_and_a_half_percent(degrees):
    """Simpson's rule on the density itself: needs no library."""
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
    end, panels = student_975(degrees), 4000

    def density(t: float) -> float:
        return scale * (1 + t * t / degrees) ** (-(degrees + 1) / 2)

    step = end / panels
    inner = math.fsum((4 if i % 2 else 2) * density(i * step) for i in range(1, panels))
    assert (density(0) + inner + density(end)) * step / 3 == pytest.approx(0.475, abs=1e-8)


def test_t_falls_with_every_degree_of_freedom_towards_the_normal_quantile():
    quantiles = [student_975(degrees) for degrees in range(1, 200)]
    assert quantiles == sorted(quantiles, reverse=True)
    assert len(set(quantiles)) == len(quantiles)
    assert student_975(10**12) == pytest.approx(1.959963984540054, rel=1e-11)


@pytest.mark.parametrize("degrees", [0, -3])
def test_fewer_than_one_degree_of_freedom_is_refused(degrees):
    with pytest.raises(ValueError, match="at least 1"):
        student_975(degrees)
