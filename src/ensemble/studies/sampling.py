"""Which points of a space of cells, sizes and tasks to measure: evenly spread, and as many as a budget allows."""

from __future__ import annotations

__all__ = ["Sampled", "commands", "sample"]

import shlex
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.spec.sampling import DESIGNS
from ensemble.studies.measuring.subject import Point, Subject

MOST: Final = 16
"""How many drawn points there may be for each point of the space, since a point may be drawn again."""


class Sampled(NamedTuple):
    """A point of a cell, with the seconds that one run of it is expected to take."""

    subject: Subject
    point: Point
    seconds: float


def sample(
    subjects: Sequence[Subject],
    expected: Callable[[Subject, Point], float],
    *,
    points: int = 0,
    budget: float = 0.0,
    repeat: int = 1,
    method: str = "sobol",
    seed: int = 0,
) -> list[Sampled]:
    """Choose points of these subjects, each once, in the order in which they are drawn.

    `points` is how many at most (0: all), `budget` the seconds that their runs may take together (0: no limit), of
    which each point takes `repeat` times what `expected` says. `method` is a way to draw of an ensemble file, such as
    `sobol` or `latin-hypercube`. Raises `InputError` where not one point is within the budget.
    """
    space = sum(len(subject.points) for subject in subjects)
    wanted = min(points or space, space)
    chosen: dict[tuple[int, Point], Sampled] = {}
    spent = 0.0
    for row in DESIGNS[method](MOST * space, 3, seed):
        if len(chosen) == wanted:
            break
        place = int(row[0] * len(subjects))
        subject = subjects[place]
        sizes = list(dict.fromkeys(point.size for point in subject.points))
        size = sizes[int(row[1] * len(sizes))]
        of_size = [point for point in subject.points if point.size == size]
        point = of_size[int(row[2] * len(of_size))]
        if (place, point) in chosen:
            continue
        seconds = expected(subject, point)
        if budget and spent + repeat * seconds > budget:
            continue
        spent += repeat * seconds
        chosen[place, point] = Sampled(subject, point, seconds)
    if not chosen:
        raise InputError(f"not one run is expected to take less than the budget of {budget:g} s")
    return list(chosen.values())


def commands(sampled: Sequence[Sampled], study: str, repeat: int) -> list[str]:
    """The command lines that measure a sample: one for each cell and size, with its numbers of tasks."""
    by_size: dict[tuple[str, str, Scalar], list[int]] = {}
    for one in sampled:
        by_size.setdefault((one.subject.cell, one.subject.problem, one.point.size), []).append(one.point.tasks)
    lines = []
    for (cell, problem, size), tasks in by_size.items():
        words = ["ensemble", "study", "measure", cell, "--problem", problem]
        words += ["--size", str(size)] if size != "" else []
        words += ["--tasks", ",".join(map(str, sorted(tasks))), "--repeat", str(repeat), "--study", study]
        lines.append(shlex.join(words))
    return lines
