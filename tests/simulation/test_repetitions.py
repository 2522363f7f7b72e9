"""The same seed gives the same records; repetitions have seeds of their own and give intervals."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.simulation.world import checked, spec

from ensemble.model.errors import InputError
from ensemble.simulation import simulate
from ensemble.simulation.result import estimate

RANDOM = """
jobs:
  - name: a
    command: app
    parameters: {T: [1, 2, 3]}
    count: 30
    order: random
    retries: 2
    simulate: {duration: {distribution: gamma, mean: 5 * T, cv: 0.4}, failure_rate: 0.1}
rules:
  - {trigger: metric, name: p95.a.duration, when: "> 15", action: {name: submit, label: a, value: 2}}
"""


def records_of(seed: int) -> list[bytes]:
    found: list[bytes] = []
    simulate(spec(RANDOM), seed=seed, observers=[lambda record: found.append(msgspec.json.encode(record))])
    return found


def test_a_seed_gives_the_same_records_and_another_gives_others() -> None:
    assert records_of(1) == records_of(1)
    assert records_of(1) != records_of(2)


def test_a_seed_gives_the_same_records_under_every_hash_seed() -> None:
    code = (
        "import hashlib, sys; from tests.simulation.test_repetitions import records_of;"
        "print(hashlib.sha256(b''.join(records_of(1))).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "77")
    }
    assert len(said) == 1


def test_repetitions_have_seeds_of_their_own_and_an_interval_that_holds_the_truth() -> None:
    result = checked(spec(RANDOM), seed=1, repeat=20)
    assert [run.seed for run in result.runs] == list(range(1, 21))
    assert len({run.makespan for run in result.runs}) == 20
    mean = result.estimates["mean.a[T=2].duration"]
    assert mean.count == 20
    assert mean.ci95 is not None
    assert abs(mean.mean - 10.0) < 2 * mean.ci95 < 2.0


def test_an_interval_is_that_of_student() -> None:
    # Student, The probable error of a mean, Biometrika 6 (1908): the additional hours of sleep
    found = estimate([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert found.mean == pytest.approx(1.58)
    assert found.ci95 == pytest.approx(2.262157 * 1.229995 / math.sqrt(10), rel=1e-5)
    assert (found.min, found.max) == (0.0, 4.6)
    assert estimate([3.0]).ci95 is None


def test_less_than_one_repetition_is_refused() -> None:
    with pytest.raises(InputError):
        simulate(spec(RANDOM), repeat=0)
