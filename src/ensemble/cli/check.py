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
    from ensemble.runtime.opening import algorithms, member_kinds, refuse_functions
    from ensemble.spec.loader import load

    bad = False
    known, kinds = algorithms(), member_kinds()
    for file in files:
        folder = Path(file).is_dir()
        paths = sorted(Path(file).glob("*.y*ml")) if folder else [Path(file)]
        if not paths:
            raise InputError(f"{file}: no ensemble file (*.yaml) is in this directory")
        for path in paths:
            try:
                spec = load(path, known, kinds)
                refuse_functions(spec)
            except InputError as error:
                bad = True
                problems = (
                    [str(problem) for problem in error.problems]
                    if isinstance(error, SpecError)
                    else [line if str(path) in line else f"{path}: {line}" for line in str(error).splitlines()]
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
