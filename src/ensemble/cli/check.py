"""`ensemble check FILE...`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ensemble.cli.common import output_option, say


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@output_option
def command(files: tuple[str, ...], output: str) -> None:
    """Find what is wrong with FILES (or all of a directory), before anything is spent."""
    from ensemble.model.errors import InputError, SpecError
    from ensemble.runtime.opening import algorithms
    from ensemble.spec.loader import load

    bad = False
    known = algorithms()
    for file in files:
        paths = sorted(Path(file).glob("*.y*ml")) if Path(file).is_dir() and len(files) == 1 else [Path(file)]
        for path in paths or [Path(file)]:
            try:
                spec = load(path, known)
            except InputError as error:
                bad = True
                problems = (
                    [str(problem) for problem in error.problems] if isinstance(error, SpecError) else [str(error)]
                )
                if output == "json":
                    say(output, "", {"file": str(path), "problems": problems})
                else:
                    click.echo("\n".join(problems), err=output != "human")
                continue
            jobs = sum(group.count * len(group.points) for group in spec.jobs)
            say(
                output,
                f"{path}: {len(spec.jobs)} groups, {jobs} jobs by their counts, {len(spec.rules)} rules: no problem",
                {"file": str(path), "problems": []},
            )
    sys.exit(2 if bad else 0)
