"""What a file needs before it can be simulated: recorded runs read, and checks left out that nothing would pass."""

from __future__ import annotations

__all__ = ["Prepared", "prepare"]

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs

from ensemble.journal import read
from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.simulation.model import Recorded
from ensemble.simulation.recording import Recording
from ensemble.spec.expressions import names, parse
from ensemble.spec.model import EnsembleSpec, GroupSpec


class Prepared(NamedTuple):
    """A file ready to be simulated. `by_group` are recordings that the file names, `recorded` the one for all."""

    spec: EnsembleSpec
    assumed: tuple[str, ...]
    by_group: Mapping[str, tuple[str, Recording]]
    recorded: Recording | None

    def known(self, group: str, values: Mapping[str, Scalar]) -> Recorded | None:
        """What is recorded of a point. Raises `InputError` when the file relies on a run that has no such jobs."""
        if self.recorded is not None:
            known = self.recorded.find(group, values)
            if known is not None:
                return known
        if group not in self.by_group:
            return None
        run, recording = self.by_group[group]
        known = recording.find(group, values)
        if known is None:
            point = ", ".join(f"{axis} = {value}" for axis, value in values.items())
            jobs = f"jobs with {point}" if point else "such jobs"
            raise InputError(f"group {group}: simulate.duration: run {run} has no {jobs} that have ended")
        return known


def prepare(spec: EnsembleSpec, recorded: Recording | None, find: Callable[[str], Path] = Path) -> Prepared:
    """Read what the file names; `find` gives the directory of a run that it names.

    Raises `InputError` (`UnknownRun`) and `JournalError`.
    """
    assumed: list[str] = []
    recordings: dict[str, Recording] = {}
    by_group: dict[str, tuple[str, Recording]] = {}
    jobs = []
    for group in spec.jobs:
        run = _named_run(group.simulate)
        if run:
            if run not in recordings:
                recordings[run] = Recording(read(find(run)))
            by_group[group.name] = (run, recordings[run])
            rest = {key: value for key, value in group.simulate.items() if key != "duration"}
            group = structs.replace(group, simulate=rest)
        sources = [one for one in (recorded, recordings.get(run)) if one is not None]
        unread = list(_unread(group, sources))
        if unread:
            assumed.append(
                f"group {group.name}: `valid` is taken as true, for nothing says what {', '.join(unread)} would be "
                "(`simulate.figures`)"
            )
            group = structs.replace(group, valid="")
        jobs.append(group)
    return Prepared(structs.replace(spec, jobs=tuple(jobs)), tuple(assumed), by_group, recorded)


def _named_run(simulate: Mapping[str, Any]) -> str:
    duration = simulate.get("duration")
    run = duration.get("recorded") if isinstance(duration, Mapping) and len(duration) == 1 else None
    return run if isinstance(run, str) else ""


def _unread(group: GroupSpec, recordings: list[Recording]) -> Iterator[str]:
    """Figures that `valid` reads and that no model gives."""
    if not group.valid:
        return
    figures = group.simulate.get("figures", {})
    for name in names(parse(group.valid)):
        modelled = name in figures or any(name in recording.figures(group.name) for recording in recordings)
        if name in group.outputs and not modelled:
            yield name
