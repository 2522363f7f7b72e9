"""Patterns: what is known of a cell on a problem, as a model with its range and its residual.

A pattern is fitted to the valid and undisturbed measurements of one recipe. It answers within the range of what was
measured, and says so where it is asked for more.
"""

from __future__ import annotations

__all__ = ["Estimate", "Pattern", "Patterns", "Share", "fit_patterns", "read_patterns", "write_patterns"]

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ensemble.model.errors import FileError, InputError
from ensemble.studies.measuring.measurement import Measurement
from ensemble.studies.models import Fit, evaluate, fit

FILE: Final = "patterns.json"

POWERS: Final = (1, 2, 3)
"""How the work may grow with the size: with the size itself (particles, steps), with a square's or a cube's edge."""


class Estimate(Struct, frozen=True):
    """What a pattern expects of one run: seconds, their 95 % interval, and the share of MPI (None: not observed)."""

    seconds: float
    low: float
    high: float
    mpi_share: float | None


class Share(Struct, frozen=True):
    """The share of time in MPI that was measured with this many tasks: its mean, least and greatest, from 0 to 1."""

    tasks: int
    mean: float
    low: float
    high: float


class Pattern(Struct, frozen=True, kw_only=True):
    """The pattern of a cell on a problem.

    `size` is the size's name where sizes are not numbers; else it is empty, the model knows the sizes from the least to
    the greatest of `sizes`, and the work grows with this `power` of the size. `hookup` is the median time in seconds
    that the launcher adds. `left_out` counts measurements that were not used, by the reason.
    """

    cell: str
    problem: str
    size: str = ""
    sizes: tuple[float, ...] = ()
    power: int = 1
    tasks: tuple[int, ...]
    nodes: int = 1
    digest: str = ""
    runs: int
    left_out: dict[str, int] = {}
    hookup: float = 0.0
    shares: tuple[Share, ...] = ()
    model: Fit

    @property
    def name(self) -> str:
        """The cell and the problem, for messages."""
        return f"{self.cell} {self.problem}" + (f" {self.size}" if self.size else "")

    def predict(self, tasks: int, size: float | None = None, *, extrapolate: bool = False) -> Estimate:
        """The wall time of a run with this many tasks, and its share of MPI.

        `size` may be left out where one size was measured. Raises `InputError` outside the range that was measured,
        unless `extrapolate` is set.
        """
        size = self._size(size)
        if not extrapolate:
            self._refuse_outside("tasks", tasks, self.tasks)
            if self.sizes:
                self._refuse_outside("size", size, self.sizes)
        found = evaluate(self.model, size**self.power, tasks)
        return Estimate(found.seconds, found.low, found.high, self._share(tasks))

    def _size(self, size: float | None) -> float:
        if size is not None:
            return size
        if len(self.sizes) > 1:
            measured = ", ".join(f"{one:g}" for one in self.sizes)
            raise InputError(f"{self.name}: a size is needed; measured were {measured}")
        return self.sizes[0] if self.sizes else 1.0

    def _refuse_outside(self, what: str, value: float, measured: Sequence[float]) -> None:
        if not measured[0] <= value <= measured[-1]:
            span = f"{measured[0]:g} to {measured[-1]:g}" if len(measured) > 1 else f"{measured[0]:g} only"
            raise InputError(
                f"{self.name}: {what} {value:g} is outside what was measured ({span}); measure it, or extrapolate"
            )

    def _share(self, tasks: int) -> float | None:
        """The measured share of MPI, on a straight line between the nearest numbers of tasks."""
        below = [one for one in self.shares if one.tasks <= tasks]
        above = [one for one in self.shares if one.tasks >= tasks]
        if not below or not above:
            nearest = below[-1:] or above[:1]
            return nearest[0].mean if nearest else None
        left, right = below[-1], above[0]
        if left.tasks == right.tasks:
            return left.mean
        return left.mean + (right.mean - left.mean) * (tasks - left.tasks) / (right.tasks - left.tasks)


class Patterns(Struct, frozen=True, kw_only=True):
    """All patterns of a study, and why others could not be fitted, by their names."""

    format: int = 1
    patterns: tuple[Pattern, ...] = ()
    refused: dict[str, str] = {}

    def find(self, cell: str, problem: str, size: str = "") -> Pattern:
        """The pattern of a cell on a problem. Raises `InputError` naming those there are."""
        of_cell = [one for one in self.patterns if one.cell == cell and one.problem == problem]
        for pattern in of_cell:
            if not pattern.size or pattern.size == size or (not size and len(of_cell) == 1):
                return pattern
        name = f"{cell} {problem}" + (f" {size}" if size else "")
        known = ", ".join(pattern.name for pattern in self.patterns) or "none"
        why = self.refused.get(name)
        raise InputError(
            f"there is no pattern of {name}: {why}" if why else f"there is no pattern of {name}; known: {known}"
        )


def fit_patterns(measurements: Iterable[Measurement]) -> Patterns:
    """Fit a pattern to the measurements of each cell and problem.

    Disturbed and invalid ones, and those of an older recipe of the cell, are left out.
    """
    groups: dict[tuple[str, str, str, int], list[Measurement]] = {}
    for one in measurements:
        named = one.size if _amount(one.size) is None else ""
        groups.setdefault((one.cell, one.problem, named, one.nodes), []).append(one)
    patterns, refused = [], {}
    for (cell, problem, size, _), runs in sorted(groups.items(), key=lambda item: item[0]):
        usable, left_out = _usable(runs)
        try:
            patterns.append(_pattern(usable, left_out))
        except InputError as error:
            excuses = "".join(f"; {count} {reason}" for reason, count in left_out.items())
            refused[f"{cell} {problem}" + (f" {size}" if size else "")] = f"{error}{excuses}"
    return Patterns(patterns=tuple(patterns), refused=refused)


def _amount(size: str) -> float | None:
    """A size as a number above 0; None where it is just a name, such as `small`."""
    try:
        amount = float(size)
    except ValueError:
        return None
    return amount if 0 < amount < math.inf else None


def _usable(runs: Sequence[Measurement]) -> tuple[list[Measurement], dict[str, int]]:
    newest = max(runs, key=lambda one: one.time).digest
    usable: list[Measurement] = []
    left_out: dict[str, int] = {}
    for one in runs:
        if not one.valid:
            reason = "invalid"
        elif one.disturbed:
            reason = "disturbed"
        elif one.digest != newest:
            reason = "of another recipe"
        else:
            usable.append(one)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    return usable, left_out


def _pattern(runs: Sequence[Measurement], left_out: dict[str, int]) -> Pattern:
    if len(runs) < 2:
        raise InputError(f"a pattern needs two good measurements, and there {'is' if runs else 'are'} {len(runs)}")
    tasks = [one.tasks for one in runs]
    seconds = [one.wall for one in runs]
    sizes = [amount for one in runs if (amount := _amount(one.size)) is not None]
    work = sizes or [1.0] * len(runs)
    powers = POWERS if len(set(sizes)) > 1 else (1,)
    fits = [(power, fit([size**power for size in work], tasks, seconds)) for power in powers]
    power, model = min(fits, key=lambda one: one[1].residual)
    first = runs[0]
    return Pattern(
        cell=first.cell,
        problem=first.problem,
        size="" if sizes else first.size,
        sizes=tuple(sorted(set(sizes))),
        power=power,
        tasks=tuple(sorted(set(tasks))),
        nodes=first.nodes,
        digest=first.digest,
        runs=len(runs),
        left_out=left_out,
        hookup=statistics.median(one.hookup for one in runs),
        shares=_shares(runs),
        model=model,
    )


def _shares(runs: Sequence[Measurement]) -> tuple[Share, ...]:
    by_tasks: dict[int, list[float]] = {}
    for one in runs:
        if one.mpi_share is not None:
            by_tasks.setdefault(one.tasks, []).append(one.mpi_share)
    return tuple(
        Share(tasks, statistics.fmean(shares), min(shares), max(shares)) for tasks, shares in sorted(by_tasks.items())
    )


def write_patterns(study: Path, patterns: Patterns) -> Path:
    """Write the patterns of a study; the path of the file is returned."""
    path = study / FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(patterns), indent=2) + b"\n")
    return path


def read_patterns(study: Path) -> Patterns:
    """Read the patterns of a study. Raises `FileError` where they were not fitted yet or cannot be read."""
    path = study / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Patterns)
    except FileNotFoundError:
        raise FileError(f"{path}: there are no patterns here yet; `ensemble study fit` makes them") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise FileError(f"{path}: cannot be read as patterns: {error}") from error
