"""`ensemble study sample CELL...`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import recipes_option, study_option, tasks_option
from ensemble.spec.sampling import DESIGNS


@verb("sample")
@click.argument("cells", nargs=-1, required=True, metavar="CELL...")
@click.option("--problem", default="", metavar="NAME", help="The problem of the recipes.  [default: the first of each]")
@click.option("--size", "sizes", multiple=True, metavar="SIZE", help="A size; may be repeated.  [default: all]")
@tasks_option
@click.option("--points", default=0, type=click.IntRange(0), help="The most points that are chosen.  [default: all]")
@click.option("--budget", default="0", metavar="DURATION", help="How long all runs may take together.")
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1, 1000), help="Runs of each point.")
@click.option("--each", default="30s", show_default=True, help="Time of a run of which no pattern is known.")
@click.option("--method", default="sobol", show_default=True, type=click.Choice(list(DESIGNS)), help="How to draw.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Seed of the choice.")
@study_option
@recipes_option
@output_option
def command(
    cells: tuple[str, ...],
    problem: str,
    sizes: tuple[str, ...],
    tasks: tuple[int, ...],
    points: int,
    budget: str,
    repeat: int,
    each: str,
    method: str,
    seed: int,
    study: str,
    recipes: tuple[str, ...],
    output: Output,
) -> None:
    """Choose evenly spread points of CELLs, sizes and tasks to measure, and print the commands that measure them."""
    from pathlib import Path

    from ensemble.model.errors import InputError
    from ensemble.spec.units import parse_duration
    from ensemble.studies.measuring.subject import Point, Subject, of_cell
    from ensemble.studies.patterns import FILE, Patterns, read_patterns
    from ensemble.studies.recipes import catalogue
    from ensemble.studies.sampling import commands, sample

    known = catalogue(files=recipes)
    subjects = []
    for cell in map(known.cell, cells):
        name = problem or next(iter(cell.application.problems))
        found = cell.application.problems.get(name)
        every = tuple(map(str, found.sizes)) if found is not None else ()
        subjects.append(of_cell(cell, name, sizes or every, tasks))
    patterns = read_patterns(Path(study)) if (Path(study) / FILE).exists() else Patterns()
    default = parse_duration(each)

    def expected(subject: Subject, point: Point) -> float:
        try:
            pattern = patterns.find(subject.cell, subject.problem, str(point.size))
            size = float(point.size) if pattern.sizes else None
            return pattern.predict(point.tasks, size, extrapolate=True).seconds + pattern.hookup
        except InputError:
            return default

    chosen = sample(
        subjects,
        expected,
        points=points,
        budget=parse_duration(budget),
        repeat=repeat,
        method=method,
        seed=seed,
    )
    lines = commands(chosen, study, repeat)
    data = [
        {"cell": one.subject.cell, "problem": one.subject.problem, **one.point._asdict(), "seconds": one.seconds}
        for one in chosen
    ]
    output.show("\n".join(lines), {"points": data, "commands": lines})
