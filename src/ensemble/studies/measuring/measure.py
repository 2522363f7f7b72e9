"""Measuring to the end: what was interrupted is continued, what is missing is run, what was disturbed is repeated."""

from __future__ import annotations

__all__ = ["Progress", "measure"]

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from ensemble.model.errors import InputError
from ensemble.model.wording import counted
from ensemble.runs import Run, Runs, Submission
from ensemble.runs.interface import AT_WORK
from ensemble.runtime import RunResult
from ensemble.studies.measuring.collecting import collect
from ensemble.studies.measuring.experiment import How, Tools, ensemble_file, missing_runs
from ensemble.studies.measuring.measurement import Measurement, measurements
from ensemble.studies.measuring.subject import Subject


class Progress(Protocol):
    """Who is told how it goes on."""

    def perform(self, work: Callable[..., RunResult]) -> RunResult:
        """Call `work` with the observer of a run, and show the run meanwhile."""
        ...

    def note(self, text: str) -> None:
        """A remark between the runs."""
        ...

    def measured(self, measurement: Measurement) -> None:
        """A new measurement."""
        ...


def measure(
    runs: Runs,
    study: Path,
    subject: Subject,
    tools: Tools,
    how: How,
    wanted: int,
    rounds: int,
    member: str = "",
    image: str = "",
    labels: Mapping[str, str] = {},
    *,
    progress: Progress,
) -> dict[str, int]:
    """Measure until each point has `wanted` undisturbed runs, in at most `rounds` ensemble runs.

    Returns how many are missing still, by a description of the point. Raises `InputError` while another process
    measures the same, and what `Runs.submit` raises.
    """
    folder = study / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    name = subject.name
    for run in _earlier(runs, folder, name):
        _finish(run, progress)
        _collect(study, run, labels, progress)
    for number in range(rounds):
        missing = missing_runs(subject, measurements(study), wanted)
        if not missing:
            break
        if number:
            progress.note(f"{counted(sum(missing.values()), 'run')} of {name} must be repeated")
        file = folder / f"{name}.yaml"
        file.write_text(ensemble_file(subject, missing, tools, how, seed=number), "utf-8")
        submission = Submission(str(file), member, base=str(folder), image=image)
        result = progress.perform(lambda observe, submission=submission: runs.submit(submission, observe))
        run = runs.find(result.run_dir)
        if run.info().state != "over" or not any(one.valid for one in _collect(study, run, labels, progress)):
            break  # what fails, fails again
    left = missing_runs(subject, measurements(study), wanted)
    return {_words(point.tasks, str(point.size)): count for point, count in left.items()}


def _words(tasks: int, size: str) -> str:
    return counted(tasks, "task") + (f", size {size}" if size else "")


def _earlier(runs: Runs, folder: Path, name: str) -> Iterator[Run]:
    """The runs that measured the same before, the oldest first."""
    numbered = [(path.name.removeprefix(f"{name}-"), path) for path in folder.glob(f"{name}-*") if path.is_dir()]
    for _, path in sorted((int(number), path) for number, path in numbered if number.isdigit()):
        yield runs.find(str(path))


def _finish(run: Run, progress: Progress) -> None:
    """Continue a run that was interrupted."""
    state = run.info().state
    if state in AT_WORK:
        raise InputError(f"another process measures the same: run {run.name} is {state}; `ensemble watch {run.path}`")
    if state != "over":
        progress.note(f"{run.name} was {state}, and is continued")
        progress.perform(run.resume)


def _collect(study: Path, run: Run, labels: Mapping[str, str], progress: Progress) -> list[Measurement]:
    found = collect(study, run, labels, progress.note)
    for one in found:
        progress.measured(one)
    return found
