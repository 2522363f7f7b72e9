"""From the jobs of a measuring run to the measurements of a study."""

from __future__ import annotations

__all__ = ["collect"]

import codecs
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import convert, structs, to_builtins

from ensemble.model.errors import InputError
from ensemble.model.wording import counted
from ensemble.runs import Run
from ensemble.studies.measuring.disturbance import Machine, machine_between, reasons
from ensemble.studies.measuring.environment import environment
from ensemble.studies.measuring.experiment import NOTHING
from ensemble.studies.measuring.measurement import Figure, Measurement, MpiCall, measurements, write_measurement
from ensemble.studies.measuring.notes import Notes, RankRecord, read_notes


def collect(study: Path, run: Run, labels: Mapping[str, str], warn: Callable[[str], None]) -> list[Measurement]:
    """Write a measurement for each job of a run that is over and has none yet; return the new ones.

    `labels` are added to each environment: what a machine cannot say of itself, such as its instance type. Jobs that
    were cancelled or lost with their node are no measurements; `warn` is told of others that noted nothing.
    """
    folder = study / "measurements"
    folder.mkdir(parents=True, exist_ok=True)
    there = list(measurements(study))
    counts = Counter(_point(one) for one in there)
    outputs = {name for group in run.engine().spec.jobs for name in group.outputs}
    new: list[tuple[Path, Measurement]] = []
    for row in run.results():
        path = folder / f"{run.name}.{row['key']}.json"
        if row["outcome"] not in ("success", "failed") or path.exists():
            continue
        notes = read_notes(_lines(run, row["key"]))
        if not notes.about:
            warn(f"{run.name}: job {row['key']} is no measurement: {row.get('text') or row['reason']}")
            continue
        one = _measurement(row, notes, outputs, labels)
        counts[_point(one)] += 1
        new.append((path, structs.replace(one, iteration=counts[_point(one)])))
    quiet = _quiet([*there, *(one for _, one in new)])
    found = [_judged(one, quiet) for _, one in new]
    for (path, _), one in zip(new, found, strict=True):
        write_measurement(one, path)
    return found


def _point(one: Measurement) -> tuple[str, str, str, int]:
    return one.cell, one.problem, one.size, one.tasks


def _lines(run: Run, key: str) -> Iterator[str]:
    """The lines that a job wrote. A member that has one log for both streams shows it as stdout."""
    for file in ("stderr", "stdout"):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        # there is no such file where it was never started
        with suppress(InputError):
            for piece in run.logs(key, file):
                *whole, rest = (rest + decoder.decode(piece)).split("\n")
                yield from whole
        yield rest


def _measurement(
    row: Mapping[str, Any], notes: Notes, outputs: Collection[str], labels: Mapping[str, str]
) -> Measurement:
    about = {word: "" if value == NOTHING else value for word, value in notes.about.items()}
    figures = tuple(
        Figure(name, float(value), about["unit"] if name == about["figure"] else "")
        for name, value in row.items()
        if name in outputs
    )
    command = max(0.0, notes.after.time - notes.before.time) if notes.after.time else row.get("duration", 0.0)
    wall = max((rank.wall * 1e-9 for rank in notes.ranks), default=command)
    problems = _problems(row, notes.ranks, int(about["tasks"]))
    return Measurement(
        cell=about["cell"],
        problem=about["problem"],
        size=about["size"],
        tasks=int(about["tasks"]),
        nodes=int(about["nodes"]),
        iteration=0,
        wall=round(wall, 6),
        hookup=round(max(0.0, command - wall), 6),
        fom=next((figure for figure in figures if figure.name == about["figure"]), None),
        figures=figures,
        valid=not problems,
        problems=tuple(problems),
        mpi_share=_share(notes.ranks),
        mpi_calls=_calls(notes.ranks),
        environment={
            **environment(notes),
            **({"labels": dict(labels)} if labels else {}),
            "during": to_builtins(machine_between(notes.before, notes.after, notes.ranks)),
            **({"ranks": _usage(notes.ranks)} if notes.ranks else {}),
        },
        digest=about["digest"],
        time=notes.before.time or row.get("started", 0.0),
    )


def _problems(row: Mapping[str, Any], ranks: Collection[RankRecord], tasks: int) -> list[str]:
    """Why a run cannot be trusted."""
    found = []
    if row["outcome"] != "success":
        found.append(f"it failed ({row['reason']}){': ' if row.get('text') else ''}{row.get('text', '')}")
    worlds = sorted({rank.size for rank in ranks})
    if worlds and worlds != [tasks]:
        sizes = " and ".join(str(size) for size in worlds)
        found.append(
            f"it had {counted(tasks, 'task')}, and MPI a world of {sizes}: the launcher is not that of its MPI"
        )
    elif worlds and len(ranks) < tasks:
        found.append(f"only {counted(len(ranks), 'rank')} of {tasks} came to MPI_Finalize")
    return found


def _share(ranks: tuple[RankRecord, ...]) -> float | None:
    window = sum(rank.window for rank in ranks)
    return round(sum(rank.mpi for rank in ranks) / window, 6) if window else None


def _calls(ranks: tuple[RankRecord, ...]) -> tuple[MpiCall, ...]:
    """The calls of all ranks, those with the most time first."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for rank in ranks:
        for call in rank.calls:
            for place, value in enumerate((call.count, call.ns, call.bytes)):
                sums[call.call][place] += value
    calls = (MpiCall(name, count, round(ns * 1e-9, 9), size) for name, (count, ns, size) in sums.items())
    return tuple(sorted(calls, key=lambda call: -call.seconds))


def _usage(ranks: tuple[RankRecord, ...]) -> dict[str, float]:
    """What the ranks used in all: seconds and bytes; `memory` is the most of one."""
    seconds = {name: sum(getattr(rank, name) for rank in ranks) * 1e-9 for name in ("user", "system", "io", "init")}
    sizes = {name: sum(getattr(rank, name) for rank in ranks) for name in ("read", "written", "involuntary")}
    return {
        **{name: round(value, 6) for name, value in seconds.items()},
        **sizes,
        "memory": max(rank.memory for rank in ranks),
    }


def _quiet(all_of_them: Iterable[Measurement]) -> dict[str, float]:
    """By host: the least that the canary ever took."""
    found: dict[str, float] = {}
    for one in all_of_them:
        canary, host = _canary(one), one.environment.get("host", "")
        if canary:
            found[host] = min(canary, found.get(host, canary))
    return found


def _canary(one: Measurement) -> float:
    return float(one.environment.get("during", {}).get("canary", 0.0))


def _judged(one: Measurement, quiet: Mapping[str, float]) -> Measurement:
    """The same measurement with the reasons why it was disturbed, if it was."""
    machine = convert(one.environment["during"], Machine)
    found = reasons(machine, quiet.get(one.environment.get("host", ""), 0.0))
    return structs.replace(one, disturbed=bool(found), reasons=tuple(found))
