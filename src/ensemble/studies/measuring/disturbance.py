"""What else a machine did while an application was measured, and whether that was too much."""

from __future__ import annotations

__all__ = ["LIMITS", "Machine", "machine_between", "reasons"]

from typing import Final, NamedTuple

from msgspec import Struct

from ensemble.studies.measuring.notes import Counters, RankRecord


class Limits(NamedTuple):
    """Above these a measurement is disturbed.

    `run_delay`: time in which a rank could have run and had no core, divided by its time. `others`: time of cores that
    went to other programs, divided by the time of all cores. `steal`: the same for other virtual machines. `canary`:
    how much longer the fixed piece of work beside the run took than it takes on this machine when nothing else runs.
    """

    run_delay: float = 0.03
    others: float = 0.05
    steal: float = 0.02
    canary: float = 0.10


LIMITS: Final = Limits()

TICK: Final = 0.01
"""Seconds of a clock tick in /proc (USER_HZ is 100 on every Linux that we know)."""

_IDLE, _IOWAIT, _STEAL, _GUEST = 3, 4, 7, 8
"""Fields of the line `cpu` of /proc/stat (proc(5))."""
_CUTIME: Final = 13
"""Of /proc/PID/stat, counted from the state: user and system time of children that were waited for (proc(5))."""


class Machine(Struct, frozen=True, kw_only=True):
    """What a machine did during a run, as shares of the time of all its cores (0 to 1).

    None: the kernel does not say. `busy` is all but idle time, `others` what other programs than the job's had. `load`
    is the load average of the last minute at the start. `pressure` is the share of time in which something waited for
    a core (PSI). `run_delay` is that of the rank that waited most, `canary` the slower of the two beside the run.
    """

    busy: float | None = None
    others: float | None = None
    steal: float | None = None
    load: float | None = None
    pressure: float | None = None
    run_delay: float | None = None
    canary: float = 0.0


def machine_between(before: Counters, after: Counters, ranks: tuple[RankRecord, ...]) -> Machine:
    """What the machine did between two moments; `ranks` are those of the application, if it had any."""
    delays = [rank.run_delay / rank.window for rank in ranks if rank.run_delay is not None and rank.window]
    found = Machine(
        load=_first(before.files.get("/proc/loadavg")),
        pressure=_pressure(before, after),
        run_delay=max(delays, default=None),
        canary=max(before.canary, after.canary),
    )
    first, last = (_fields(one.files.get("/proc/stat")) for one in (before, after))
    if len(first) <= _STEAL or len(first) != len(last):
        return found
    ticks = [late - early for early, late in zip(first, last, strict=True)]
    # guest time is in user time already
    total = sum(ticks[:_GUEST])
    if total <= 0:
        return found
    busy = total - ticks[_IDLE] - ticks[_IOWAIT] - ticks[_STEAL]
    own = max(_own_ticks(before, after), sum(rank.user + rank.system for rank in ranks) * 1e-9 / TICK)
    return Machine(
        busy=round(busy / total, 4),
        others=round(max(0.0, busy - own) / total, 4),
        steal=round(ticks[_STEAL] / total, 4),
        load=found.load,
        pressure=found.pressure,
        run_delay=found.run_delay,
        canary=found.canary,
    )


def reasons(machine: Machine, quiet: float, limits: Limits = LIMITS) -> list[str]:
    """Why a run was disturbed, in plain words; empty where it was not.

    `quiet` is what the canary takes in seconds on this machine when nothing else runs, 0 where that is not known.
    """
    found = []
    if machine.run_delay is not None and machine.run_delay > limits.run_delay:
        found.append(f"a rank waited for a core for {machine.run_delay:.1%} of its time")
    if machine.others is not None and machine.others > limits.others:
        found.append(f"other programs used {machine.others:.1%} of the cores")
    if machine.steal is not None and machine.steal > limits.steal:
        found.append(f"other virtual machines used {machine.steal:.1%} of the cores")
    if quiet and machine.canary > quiet * (1 + limits.canary):
        found.append(f"the machine was {machine.canary / quiet - 1:.0%} slower than it can be")
    return found


def _fields(line: str | None) -> list[int]:
    return [int(word) for word in (line or "").split()[1:] if word.isdigit()]


def _first(line: str | None) -> float | None:
    return float(line.split()[0]) if line else None


def _own_ticks(before: Counters, after: Counters) -> int:
    """Ticks of the job's processes that have ended, from its shell's own entry."""
    times = []
    for one in (before, after):
        # the name of the program may hold spaces and brackets
        words = one.files.get("self", "").rpartition(")")[2].split()
        times.append(sum(int(word) for word in words[_CUTIME : _CUTIME + 2]))
    return max(0, times[1] - times[0])


def _pressure(before: Counters, after: Counters) -> float | None:
    microseconds = []
    for one in (before, after):
        total = one.files.get("/proc/pressure/cpu", "").rpartition("total=")[2]
        if not total.isdigit():
            return None
        microseconds.append(int(total))
    seconds = after.time - before.time
    return round((microseconds[1] - microseconds[0]) * 1e-6 / seconds, 4) if seconds > 0 else None
