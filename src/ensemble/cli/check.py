"""`ensemble check FILE...`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output


@verb("check")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@output_option
def command(files: tuple[str, ...], output: Output) -> None:
    """Find what is wrong with FILES (or all of a directory), before anything is spent.

    Exits with 2 for what cannot work. Warnings are for what can, and is probably not meant: rules that can never
    fire, loops without a bound, groups that are never submitted.
    """
    from ensemble.model.errors import InputError, SpecError
    from ensemble.runtime.examining import examine
    from ensemble.runtime.opening import algorithms, member_kinds, refuse_functions
    from ensemble.spec.loader import load_with_places

    bad = False
    known, kinds = algorithms(), member_kinds()
    for file in files:
        folder = Path(file).is_dir()
        paths = sorted(Path(file).glob("*.y*ml")) if folder else [Path(file)]
        if not paths:
            raise InputError(f"{file}: no ensemble file (*.yaml) is in this directory")
        for path in paths:
            try:
                spec, places = load_with_places(path, known, kinds)
                refuse_functions(spec)
                warnings = [str(problem) for problem in examine(spec, places)]
            except InputError as error:
                bad = True
                problems = (
                    [str(problem) for problem in error.problems]
                    if isinstance(error, SpecError)
                    else [line if str(path) in line else f"{path}: {line}" for line in str(error).splitlines()]
                )
                if output.form == "json":
                    output.show("", {"file": str(path), "problems": problems})
                else:
                    click.echo("\n".join(problems), err=not output.human)
                continue
            jobs = sum(group.count * len(group.points) for group in spec.jobs)
            found = "no problem" if not warnings else f"{len(warnings)} warning{'s' * (len(warnings) > 1)}"
            size = f"{len(spec.jobs)} groups, {jobs} jobs by their counts, {len(spec.rules)} rules"
            lines = [f"warning: {warning}" for warning in warnings] + [f"{path}: {size}: {found}"]
            output.show("\n".join(lines), {"file": str(path), "problems": [], "warnings": warnings})
    sys.exit(2 if bad else 0)
