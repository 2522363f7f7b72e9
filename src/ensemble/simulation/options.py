"""What a simulated machine is like: the options of a member of kind `simulated`.

    members:
      cloud:
        kind: simulated
        nodes: {min: 1, max: 16}
        cores: 32
        options: {scheduler: backfill, provision: {distribution: normal, mean: 90, std: 20}, node_mtbf: 2000h}

A member of another kind is simulated with its own size; its options then stand under `options.simulate`.
"""

from __future__ import annotations

__all__ = ["SCHEDULERS", "SimulatedOptions", "here", "options_of", "read_options"]

import os
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from ensemble.members.kinds import Traits, traits_of
from ensemble.model.errors import InputError
from ensemble.simulation.draws import Draw, distribution, recorded
from ensemble.spec.expressions import nearest
from ensemble.spec.units import parse_duration

SCHEDULERS: Final = ("fifo", "backfill")
"""`fifo`: in order, and a job that does not fit holds back those behind it. `backfill`: later jobs may go before it
where they do not delay it (EASY: Lifka, 1995)."""

REPAIR_SECONDS: Final = 3600.0


class SimulatedOptions(Struct, frozen=True):
    """Checked options. Times in seconds; a `Draw` makes one anew each time it is needed."""

    scheduler: str = "fifo"
    provision: Draw | None = None
    """From asking for a node to having it; None: at once."""
    node_mtbf: float = 0.0
    """Mean time between failures of one node; 0: nodes do not fail."""
    node_repair: Draw | None = None
    """From the failure of a node until there is another."""
    overhead: float = 0.0
    """What the queue takes to start a job on the cores that are its own already."""
    depth: int = 100
    """How many waiting jobs backfill looks at."""
    speed: float = 1.0
    """Virtual seconds in a second, where the member is used live; 0: as fast as can be."""


_NAMES: Final = SimulatedOptions.__struct_fields__


def read_options(given: Mapping[str, Any], member: str) -> SimulatedOptions:
    """Check options. Raises `InputError` naming the member and the option."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _NAMES:
            meant = nearest(name, _NAMES)
            hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(_NAMES)}"
            raise InputError(f"member {member}: options: there is no {name!r}; {hint}")
        try:
            found[name] = _READERS[name](value)
        except InputError as error:
            raise InputError(f"member {member}: options.{name}: {error}") from None
    if found.get("node_mtbf") and "node_repair" not in found:
        found["node_repair"] = _seconds_draw(REPAIR_SECONDS)
    return SimulatedOptions(**found)


def _scheduler(value: Any) -> str:
    if value not in SCHEDULERS:
        raise InputError(f"{value!r} is no scheduler; there is {', '.join(SCHEDULERS)}")
    return str(value)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"a duration is needed, not {value!r}")
    return parse_duration(value)


def _seconds_draw(value: Any) -> Draw:
    """A duration, or a distribution of durations."""
    if not isinstance(value, Mapping):
        fixed = _seconds(value)
        return lambda _uniform: fixed
    rest = dict(value)
    if isinstance(rest.get("recorded"), list | tuple) and len(rest) == 1:
        return recorded([_seconds(one) for one in rest["recorded"]])
    name = rest.pop("distribution", None)
    if not isinstance(name, str):
        raise InputError("a mapping needs `distribution` or `recorded`")
    return distribution(name, {key: _seconds(one) for key, one in rest.items()})


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise InputError(f"a whole number from 0 to 1,000,000 is needed, not {value!r}")
    return value


def _speed(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise InputError(f"a number from 0 to 1e9 is needed, not {value!r}")
    return float(value)


_READERS: Final[Mapping[str, Any]] = {
    "scheduler": _scheduler,
    "provision": _seconds_draw,
    "node_mtbf": _seconds,
    "node_repair": _seconds_draw,
    "overhead": _seconds,
    "depth": _whole,
    "speed": _speed,
}


def here() -> int:
    """Cores of this machine that this process may use: the size of a member that names none."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def options_of(kind: str, options: Mapping[str, Any], member: str) -> SimulatedOptions:
    """The options of a simulated member, or, for one of another kind, those under `simulate`. Raises `InputError`."""
    if kind == "simulated":
        return read_options(options, member)
    given = options.get("simulate", {})
    return read_options({**(traits_of(kind) or Traits()).simulated_as, **given}, member)
