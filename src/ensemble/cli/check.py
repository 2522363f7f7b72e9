"""`ensemble check FILE...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.model.wording import counted

if TYPE_CHECKING:
    from ensemble.spec.starting import Start


@verb("check")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--member", default="", metavar="KIND", help="Check for this kind of member, whatever the file says.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=None, help="Number of nodes of the member.")
@output_option
def command(files: tuple[str, ...], member: str, nodes: int | None, output: Output) -> None:
    """Find what is wrong with FILES (or all files of a directory) before anything is spent.

    The exit code is 2 if an ensemble cannot work. Warnings are about what can work but is probably not meant: rules
    that can never fire, loops without a bound, groups that are never submitted.
    """
    from ensemble.model.errors import InputError
    from ensemble.spec.loader import no_collection

    bad = False
    for file in files:
        folder = Path(file).is_dir()
        paths = sorted(Path(file).glob("*.y*ml")) if folder else [Path(file)]
        if not paths:
            raise InputError(f"{file}: no ensemble file (*.yaml) is in this directory")
        for path in paths:
            with no_collection():
                bad |= not _check(path, member, nodes or 0, output)
    sys.exit(2 if bad else 0)


def _check(path: Path, member: str, nodes: int, output: Output) -> bool:
    """Check one file and show what was found; whether it can work."""
    from ensemble.model.errors import InputError, SpecError
    from ensemble.runtime.examining import examine
    from ensemble.runtime.opening import algorithms, member_kinds, on_member, refuse_functions
    from ensemble.spec.convert import nearest
    from ensemble.spec.loader import load_with_places
    from ensemble.spec.starting import starts

    try:
        kinds = member_kinds()
        if member and member not in kinds:
            raise InputError(f"there is no kind of member {member!r}. {nearest(member, sorted(kinds))}")
        spec, places = load_with_places(path, algorithms(), () if member else kinds)
        refuse_functions(spec)
        spec = on_member(spec, member, nodes)
        warnings = [str(problem) for problem in examine(spec, places)]
    except InputError as error:
        problems = (
            [str(problem) for problem in error.problems]
            if isinstance(error, SpecError)
            else [line if str(path) in line else f"{path}: {line}" for line in str(error).splitlines()]
        )
        if output.form == "json":
            output.show("", {"file": str(path), "problems": problems})
        else:
            click.echo("\n".join(problems), err=not output.human)
        return False
    jobs = sum(group.count * len(group.points) for group in spec.jobs)
    groups = len(dict.fromkeys(group.name for group in spec.jobs))
    size = f"{counted(groups, 'group')}, {counted(jobs, 'job')} by their counts, {counted(len(spec.rules), 'rule')}"
    found = counted(len(warnings), "warning") if warnings else "no problem"
    first = starts(spec)
    lines = [f"warning: {warning}" for warning in warnings] + [f"{path}: {size}: {found}", *_lines(first)]
    data = {"file": str(path), "problems": [], "warnings": warnings, "starts": [one._asdict() for one in first]}
    output.show("\n".join(lines), data)
    return True


def _lines(starts: list[Start]) -> list[str]:
    """What starts by itself and what waits, each with the reason; groups of one reason share a line."""
    together: dict[tuple[bool, str], list[str]] = {}
    for one in starts:
        together.setdefault((one.by_itself, one.reason), []).append(one.group)
    lines = []
    for (by_itself, reason), groups in together.items():
        shown = ", ".join(groups[:5]) + (f" and {len(groups) - 5:,} more" if len(groups) > 5 else "")
        what = "start" if by_itself else "wait"
        lines.append(f"  {shown} {what if len(groups) > 1 else what + 's'}: {reason}")
    return lines
