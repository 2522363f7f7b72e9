"""From a journal back to an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from ensemble.algorithms import BUILTIN
from ensemble.engine import Engine
from ensemble.engine.algorithm import Algorithm
from ensemble.journal import load, read
from ensemble.metrics.statistics import STATISTICS, Statistic, look_up_with, register
from ensemble.model.decisions import Record
from ensemble.model.errors import JournalError, UnknownRun
from ensemble.model.events import RunStarted
from ensemble.spec.model import EnsembleSpec


class Folded(NamedTuple):
    """An engine as a journal leaves it, how the run was started, and what was odd about the journal."""

    engine: Engine
    started: RunStarted
    warnings: list[str]


class _Algorithms(Mapping[str, Algorithm]):
    """Looks at other packages only when somebody asks beyond ours."""

    def __getitem__(self, name: str) -> Algorithm:
        return BUILTIN[name] if name in BUILTIN else self._others()[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._others(), **BUILTIN})

    def __len__(self) -> int:
        return len({**self._others(), **BUILTIN})

    def __bool__(self) -> bool:
        return True

    @staticmethod
    @cache
    def _others() -> dict[str, Algorithm]:
        from importlib.metadata import entry_points

        found: dict[str, Algorithm] = {}
        for entry in entry_points(group="ensemble.algorithms"):
            with contextlib.suppress(Exception):
                loaded = entry.load()
                found[entry.name] = loaded() if isinstance(loaded, type) else loaded
        return found


@cache
def algorithms() -> Mapping[str, Algorithm]:
    """Every algorithm there is: ours and those of other packages (entry points `ensemble.algorithms`).

    One that does not load is left out, so that only the files that name it suffer.
    """
    return _Algorithms()


def _other_statistics() -> None:
    """Register the statistics of other packages (entry points `ensemble.statistics`); one that does not load is left
    out, so that only the files that name it suffer."""
    from importlib.metadata import entry_points

    for entry in entry_points(group="ensemble.statistics"):
        with contextlib.suppress(Exception):
            loaded = entry.load()
            if isinstance(loaded, Statistic) and loaded.name not in STATISTICS:
                register(loaded)


look_up_with(_other_statistics)


def begin(record: Record | None, run_dir: Path) -> tuple[Engine, RunStarted]:
    """The engine of the run that `record` starts, before that. Raises `UnknownRun` when it starts none."""
    if record is None or not isinstance(record.event, RunStarted):
        raise UnknownRun(f"{run_dir} never got as far as to start; remove it and run its file again")
    try:
        spec = msgspec.convert(record.event.spec, EnsembleSpec)
    except msgspec.ValidationError as error:
        raise JournalError(f"{run_dir}: its file is not one this version knows: {error}") from error
    return Engine(spec, run=record.event.run, algorithms=algorithms()), record.event


def stillborn(run_dir: Path) -> bool:
    """Whether a run was killed before its first record was durable: it never did anything."""
    folder = run_dir / "journal"
    if not folder.is_dir():
        return False
    try:
        return next(read(run_dir), None) is None
    except JournalError:
        # not even a header is whole
        return not any(b"\n" in file.read_bytes() for file in folder.glob("journal.*[0-9]"))


def fold(run_dir: Path, *, snapshots: bool = True) -> Folded:
    """Read a journal and carry it out. Raises `JournalError` and its kin, `UnknownRun` when it never started."""
    try:
        loaded = load(run_dir)
        first = next(read(run_dir), None)
    except OSError as error:
        raise JournalError(f"{run_dir}: {error.strerror}") from error
    except JournalError:
        if not stillborn(run_dir):
            raise
        first = None
    engine, started = begin(first, run_dir)
    records = loaded.records
    if loaded.snapshot is not None and snapshots:
        try:
            engine = Engine.restore(engine.spec, loaded.snapshot, algorithms())
        except (ValueError, KeyError) as error:
            # a snapshot only saves time
            loaded.warnings.append(f"the snapshot of record {loaded.snapshot_seq} is not used: {error}")
            records = read(run_dir)
    elif loaded.snapshot is not None:
        records = read(run_dir)
    for record in records:
        engine.apply(record)
    return Folded(engine, started, loaded.warnings)


def catch_up(engine: Engine, run_dir: Path) -> None:
    """Carry out what came into the journal since. Raises `JournalError` and its kin."""
    for record in read(run_dir, engine.seq):
        engine.apply(record)
