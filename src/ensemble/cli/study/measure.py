"""`ensemble study measure`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output, Showing
from ensemble.cli.study.options import recipes_option, tasks_option

if TYPE_CHECKING:
    from ensemble.runtime import RunResult
    from ensemble.studies.measuring.measurement import Measurement


def _labels(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    if bad := [text for text in texts if "=" not in text]:
        raise click.BadParameter(f"{bad[0]!r} is not NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


@verb("measure")
@click.argument("cell", default="")
@click.option("--problem", default="", metavar="NAME", help="The problem of the recipe.  [default: its first]")
@click.option(
    "--size", "sizes", multiple=True, metavar="SIZE", help="A size of the problem; may be given several times."
)
@tasks_option
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1, 1000), help="Undisturbed runs wanted.")
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="Rounds in which runs are repeated."
)
@click.option("--command", "program", default="", metavar="TEXT", help="Measure this command in place of a cell's.")
@click.option("--fom", default="", metavar="PATTERN", help="With --command: pattern of its figure of merit.")
@click.option("--unit", default="", metavar="TEXT", help="With --command: unit of the figure of merit.")
@click.option("--nodes", default=0, type=click.IntRange(0, 100_000), help="Nodes of each run.")
@click.option("--cores", default=1, show_default=True, type=click.IntRange(1, 10_000), help="Cores of each task.")
@click.option("--member", default="", metavar="KIND", help="Run on this kind of member.")
@click.option("--image", default="", help="Container image of the cell, on members of Kubernetes.")
@click.option("--container", is_flag=True, help="Run in the image that `ensemble study build` made of the cell here.")
@click.option(
    "--launcher", default="", metavar="WORDS", help="What starts the tasks, such as 'mpiexec.mpich -n {tasks}'."
)
@click.option("--walltime", default="1h", show_default=True, help="How long one run may take.")
@click.option(
    "--label", "labels", multiple=True, callback=_labels, metavar="NAME=VALUE", help="Noted with the machine."
)
@click.option("--study", default="study", show_default=True, metavar="DIR", help="Directory of the study.")
@recipes_option
@output_option
def command(
    cell: str,
    problem: str,
    sizes: tuple[str, ...],
    tasks: tuple[int, ...],
    repeat: int,
    rounds: int,
    program: str,
    fom: str,
    unit: str,
    nodes: int,
    cores: int,
    member: str,
    image: str,
    container: bool,
    launcher: str,
    walltime: str,
    labels: dict[str, str],
    study: str,
    recipes: tuple[str, ...],
    output: Output,
) -> None:
    """Measure CELL (or a command): wall time, figure of merit, share of MPI, and the machine.

    Each number of tasks is run until it has as many undisturbed measurements as are wanted; one that something else on
    the machine disturbed is kept, marked and repeated. What was interrupted is continued by the same command. The
    exit code is 1 if some are missing in the end.

    The application must be on PATH, or in the image. On another machine than this one, the interposer and the dummy
    program are looked for under the same path, as on a shared file system; an image of a cell has them.
    """
    from msgspec.structs import replace

    from ensemble.runs import open_runs
    from ensemble.spec.units import parse_duration
    from ensemble.studies.measuring.experiment import How, Tools
    from ensemble.studies.measuring.measure import measure
    from ensemble.studies.measuring.subject import of_cell, of_command
    from ensemble.studies.recipes import catalogue, containers

    if container and (program or launcher or image or member):
        raise click.UsageError("--container runs a CELL here, without --command, --launcher, --image and --member")
    if program:
        subject = of_command(program, cell, problem, sizes, tasks, fom, unit)
    elif cell:
        subject = of_cell(found := catalogue(files=recipes).cell(cell), problem, sizes, tasks)
    else:
        raise click.UsageError("either CELL or --command is needed")
    how = How(nodes, cores, parse_duration(walltime), launcher)
    tools = Tools.in_image() if image else Tools.here()
    folder, progress = Path(study), _Progress(output)
    with open_runs() as runs, ExitStack() as stack:
        if container:
            words = stack.enter_context(containers.container(found, folder, subject.env))
            subject = replace(subject, setup=containers.prepared(subject.setup, words))
            how = how._replace(launcher=f"{words} {containers.launcher(found)}")
            tools = tools._replace(interposer=Tools.in_image().interposer)
        left = measure(runs, folder, subject, tools, how, repeat, rounds, member, image, labels, progress=progress)
    for point, count in left.items():
        output.note(f"{subject.cell}, {subject.problem}, {point}: {count} of {repeat} undisturbed runs are missing")
    sys.exit(1 if left else 0)


class _Progress:
    """Shows the runs, and a line for each measurement."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def perform(self, work: Callable[..., RunResult]) -> RunResult:
        """Show a run; what programs read are the measurements."""
        with Showing(self._output if self._output.human else Output("quiet")) as showing:
            result = work(showing.observe)
        showing.close(result)
        return result

    def note(self, text: str) -> None:
        """Print a remark."""
        self._output.note(text)

    def measured(self, measurement: Measurement) -> None:
        """Print a measurement in a line."""
        self._output.show(lambda: _line(measurement), measurement)


def _line(one: Measurement) -> str:
    from ensemble.model.wording import counted

    size = f" {one.size}" if one.size else ""
    share = "MPI not observed" if one.mpi_share is None else f"MPI {one.mpi_share:.1%}"
    fom = f", {one.fom.name} {one.fom.value:g} {one.fom.unit}".rstrip() if one.fom else ""
    why = "; ".join([*one.problems, *(f"disturbed: {reason}" for reason in one.reasons)])
    return (
        f"{one.cell} {one.problem}{size}, {counted(one.tasks, 'task')}: {one.wall:.3f} s "
        f"(+ {one.hookup:.3f} s hook-up), {share}{fom}{f' ({why})' if why else ''}"
    )
