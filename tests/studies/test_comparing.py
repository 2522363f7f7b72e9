"""Runs side by side: intervals of ratios, and what was different."""

import random
import statistics

import pytest

from ensemble.metrics import student_975
from ensemble.studies.comparing import Side, compare, differences


def row(values):
    count = len(values)
    half = student_975(count - 1) * statistics.stdev(values) / count**0.5 if count > 1 else None
    numbers = {"wall.mean": statistics.fmean(values), "wall.ci95": half, "wall.n": count}
    return {"group": "lammps", "tasks": 2, "jobs": count, **numbers}


def test_a_ratio_has_its_interval():
    (one,) = compare([Side("a", [row([10.0, 10.2, 9.8])]), Side("b", [row([5.0, 5.1, 4.9])])])
    (other,) = one.others
    assert (one.point, one.quantity) == ("lammps [tasks=2]", "wall")
    assert other.ratio == pytest.approx(0.5)
    assert 0.47 < other.low < 0.5 < other.high < 0.53


def test_nine_in_ten_intervals_and_more_hold_the_true_ratio():
    draw = random.Random(7)
    held = 0
    for _ in range(400):
        sides = [Side(name, [row([draw.gauss(mean, 0.5) for _ in range(5)])]) for name, mean in (("a", 10), ("b", 12))]
        ((other,),) = [one.others for one in compare(sides)]
        held += other.low <= 1.2 <= other.high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_one_value_gives_a_ratio_without_an_interval():
    ((other,),) = [one.others for one in compare([Side("a", [row([2.0])]), Side("b", [row([3.0])])])]
    assert (other.ratio, other.low) == (1.5, None)


def test_what_only_one_run_has_is_shown_without_a_ratio():
    (one,) = compare([Side("a", []), Side("b", [row([3.0])])])
    assert (one.first, one.others[0].mean, one.others[0].ratio) == (None, 3.0, None)


def test_only_what_is_different_is_named():
    one = {"os": "Debian", "cpu": {"model": "A", "threads": 2}}
    other = {"os": "Debian", "cpu": {"model": "B", "threads": 2}, "product": "cloud"}
    assert differences([one, other]) == {"cpu.model": ["A", "B"], "product": [None, "cloud"]}
