"""A sample of what to measure is spread evenly and keeps to its budget."""

from collections import Counter

import pytest
from click.testing import CliRunner

from ensemble.cli.main import ensemble
from ensemble.model.errors import InputError
from ensemble.studies.measuring.subject import Point, Subject
from ensemble.studies.sampling import commands, sample

POINTS = tuple(Point(tasks, size) for size in (1, 2, 4) for tasks in (1, 2, 4, 8))
CELLS = [Subject(cell=cell, problem="melt", command="lmp", points=POINTS) for cell in ("a/b/c", "d/e/f")]


def seconds(_, point):
    return 8.0 * point.size / point.tasks


@pytest.mark.parametrize("method", ["sobol", "latin-hypercube", "random"])
def test_a_sample_has_as_many_points_as_asked_and_none_twice(method):
    chosen = sample(CELLS, seconds, points=12, method=method)
    assert len({(one.subject.cell, one.point) for one in chosen}) == 12


def test_a_sobol_sample_is_spread_over_cells_sizes_and_tasks():
    chosen = sample(CELLS, seconds, points=12)
    assert set(Counter(one.subject.cell for one in chosen).values()) == {6}
    assert {one.point.size for one in chosen} == {1, 2, 4}
    assert {one.point.tasks for one in chosen} == {1, 2, 4, 8}


def test_without_a_limit_the_whole_space_is_chosen():
    assert len(sample(CELLS, seconds)) == len(CELLS) * len(POINTS)


def test_a_budget_is_kept():
    chosen = sample(CELLS, seconds, budget=60.0, repeat=2)
    assert 30.0 < 2 * sum(one.seconds for one in chosen) <= 60.0


def test_a_budget_for_nothing_is_refused():
    with pytest.raises(InputError, match="not one run"):
        sample(CELLS, seconds, budget=0.5)


def test_the_commands_measure_what_was_chosen():
    chosen = sample(CELLS[:1], seconds)
    assert commands(chosen, "study", 3)[0].startswith("ensemble study measure a/b/c --problem melt --size ")
    assert {line.split("--tasks ")[1].split()[0] for line in commands(chosen, "study", 3)} == {"1,2,4,8"}


def test_the_verb_prints_commands_for_real_cells(tmp_path):
    words = ["study", "sample", "lammps/debian/mpich", "--tasks", "1,2", "--points", "3", "--study", str(tmp_path)]
    done = CliRunner().invoke(ensemble, words)
    assert done.exit_code == 0, done.exception
    assert done.output.startswith("ensemble study measure lammps/debian/mpich --problem melt --size ")
