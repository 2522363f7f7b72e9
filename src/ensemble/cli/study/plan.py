"""`ensemble study plan FILE`."""

from __future__ import annotations

from functools import partial

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import recipes_option, study_option


@verb("plan")
@click.argument("file", type=click.Path())
@study_option
@recipes_option
@click.option(
    "--to", "-o", default="experiment.yaml", show_default=True, metavar="FILE", help="Name of the new ensemble file."
)
@click.option(
    "--kubernetes", default="", metavar="IMAGE", help="Write an object of kind Ensemble, whose jobs use this image."
)
@click.option("--wfformat", default="", metavar="FILE", help="Write the jobs as a workflow in WfFormat too.")
@partial(output_option, letter="")
def command(
    file: str, study: str, recipes: tuple[str, ...], to: str, kubernetes: str, wfformat: str, output: Output
) -> None:
    """Make an ensemble from the plan in FILE: jobs with the durations and shares of MPI that it asks for.

    The targets are met in simulation, so `ensemble simulate` of the new file gives the same makespan. The same plan and
    patterns give the same file.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from ensemble.studies.patterns import read_patterns
    from ensemble.studies.planning.experiment import kubernetes_object, write_experiment, write_text
    from ensemble.studies.planning.plan import read_plan
    from ensemble.studies.planning.planner import plan_experiment
    from ensemble.studies.planning.wfformat import write_workflow
    from ensemble.studies.recipes import catalogue
    from ensemble.studies.showing import figures_line
    from ensemble.studies.writing import file_text

    plan = read_plan(file)
    cells = any(entry.cell for entry in plan.plan.mix)
    known = (read_patterns(Path(study)), catalogue(files=recipes)) if cells else (None, None)
    experiment = plan_experiment(plan, *known)
    comment = f"Made from {Path(file).name} by `ensemble study plan`."
    if kubernetes:
        written = [Path(to)]
        write_text(Path(to), file_text(kubernetes_object(experiment.file, kubernetes), comment))
    else:
        written = write_experiment(experiment, Path(to), comment)
    if wfformat:
        write_workflow(Path(wfformat), plan.plan.name, experiment.tasks, experiment.figures.makespan, datetime.now(UTC))
        written.append(Path(wfformat))
    text = "\n".join([figures_line(experiment.figures), *(f"wrote {path}" for path in written)])
    output.show(text, {"files": [str(path) for path in written], "figures": experiment.figures._asdict()})
