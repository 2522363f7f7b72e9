"""Slurm's commands as asyncio processes, one call for many jobs."""

from __future__ import annotations

__all__ = ["ENDED", "Accounted", "Busy", "Limits", "Queue", "Row", "SbatchRefused", "Sizes"]

import asyncio
import contextlib
import os
import pwd
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ensemble.model.errors import MemberError, MemberUnavailable

CALL_SECONDS: Final = 60.0
"""How long one command may take; Slurm's own patience (MessageTimeout) is 10 s and it tries again by itself."""

ENDED: Final = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    )
)
"""States from which a job does not come back (a requeued one is PENDING again)."""

_UNREACHABLE: Final = (
    "unable to contact slurm controller",
    "socket timed out",
    "connection refused",
    "zero bytes were transmitted",
    "transport endpoint",
    "communication connection failure",
    "timed out",
    "unexpected message received",
    "munge",
    "protocol authentication error",
)
_TRANSIENT: Final = ("temporarily", "try again", "submit limit", "maxsubmit", "resource temporarily", "at limit")
_FULL: Final = ("temporarily unable to accept job", "job queue full", "job creation temporarily disabled")
"""What `sbatch` says before it sleeps and tries again, for two minutes: the controller has all the jobs it takes."""
_POLICY: Final = "accounting/qos policy"
_IDS: Final = 200
"""Job ids in one `scancel`: below any limit on the length of a command line, and a bounded burst of messages."""


class Busy(MemberError):
    """The controller did not answer; whether it did what was asked is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


class SbatchRefused(Exception):
    """Slurm refuses the submission; the text is its own.

    `transient`: it may take it later. `full`: it takes no more jobs now, but may take fewer.
    """

    def __init__(self, errors: str) -> None:
        reason = _last(errors)
        self.full = any(word in errors.lower() for word in _FULL)
        self.transient = self.full or any(word in reason.lower() for word in _TRANSIENT)
        if _POLICY in reason.lower():
            # one message for what may be asked again (too many jobs) and what never may (too long); the line before
            # it names the limit
            limit = errors.splitlines()[-2].rpartition(" ")[2] if len(errors.splitlines()) > 1 else ""
            if limit.endswith("Limit"):
                self.transient = "submit" in limit.lower()
                reason = f"{limit}: {reason}"
        super().__init__(reason)


class Row(NamedTuple):
    """One job as `squeue` shows it; `shipment` is what its comment names. `task` -1: the whole array."""

    job: str
    task: int
    state: str
    reason: str
    hosts: str
    shipment: str
    end: float = 0.0
    """When it ended (seconds since the epoch, whole ones); 0 while it has not."""


class Limits(NamedTuple):
    """What the controller's configuration says."""

    largest_array: int
    """Tasks that one array may have."""
    remembers: float
    """Seconds for which it knows of a job that has ended."""
    accounts: bool
    """Whether `sacct` has records."""


class Accounted(NamedTuple):
    """What Slurm's accounting says of one task's end."""

    state: str
    by: str
    """Who cancelled it."""
    end: float


class Sizes(NamedTuple):
    """What the partition has."""

    nodes_up: int
    nodes_free: int
    cores_up: int
    cores_free: int
    cores_per_node: int
    cores_all: int
    """Those of nodes that are down or drained included: they may come back."""
    nodes_all: int
    """As well."""


class Queue:
    """The controller that the commands on PATH speak with."""

    def __init__(self, run: str, member: str) -> None:
        self._label = f"ensemble:{run}:{member}:"
        # where we stand in an allocation ourselves, its variables (SLURM_CPU_BIND, ...) must not shape our jobs
        self._environment = {
            name: text
            for name, text in os.environ.items()
            if name != "ENSEMBLE_FAILPOINT" and (not name.startswith("SLURM_") or name == "SLURM_CONF")
        }
        self._environment["SLURM_TIME_FORMAT"] = "%s"
        beside = os.path.dirname(sys.executable)
        if beside not in self._environment.get("PATH", os.defpath).split(os.pathsep):
            self._environment["PATH"] = beside + os.pathsep + self._environment.get("PATH", os.defpath)
        self.seconds = 0.0
        """How long the last `squeue` took: who asks a busy controller less often helps it."""

    @staticmethod
    def here() -> None:
        """Raises `MemberUnavailable` when there is no Slurm on this machine."""
        missing = [name for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo") if not shutil.which(name)]
        if missing:
            raise MemberUnavailable(f"Slurm's {', '.join(missing)} not found on PATH; run where its commands are")

    async def _call(self, *words: str, text: str = "") -> tuple[int, str, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the engine, not for a submission under way
            )
        except OSError as error:
            raise Busy(f"{words[0]} cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(CALL_SECONDS):
                out, err, _ = await asyncio.gather(_all(process.stdout), _heard(process), _say(process, text))
                await process.wait()
        except TimeoutError:
            raise Busy(f"{words[0]} got no answer within {CALL_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        code = process.returncode or 0
        errors = err.decode(errors="replace").strip()
        if code and any(word in errors.lower() for word in _UNREACHABLE):
            raise Busy(f"{words[0]}: {_last(errors)}")
        return code, out.decode(errors="replace"), errors

    async def submit(self, shipment: str, count: int, words: Sequence[str], text: str) -> str:
        """Submit an array of `count`; return its job id. Raises `SbatchRefused`, and `Busy` when nobody knows."""
        call = ("sbatch", "--parsable", f"--comment={self._label}{shipment}", f"--array=0-{count - 1}", *words)
        code, out, errors = await self._call(*call, text=text)
        if code:
            raise SbatchRefused(errors or f"sbatch ended with {code}")
        return out.strip().partition(";")[0]

    async def rows(self) -> list[Row]:
        """Every job of this run that the controller still knows, ended ones included. Raises `MemberError`."""
        began = time.monotonic()
        shape = "%F|%K|%T|%r|%N|%e|%k"
        call = ("squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", shape)
        code, out, errors = await self._call(*call)
        self.seconds = time.monotonic() - began
        if code:
            raise MemberError(f"squeue: {_last(errors)}", transient=True)
        found = []
        for line in out.splitlines():
            words = line.split("|", 6)
            if len(words) == 7 and words[6].startswith(self._label) and (words[1].isdigit() or words[1] == "N/A"):
                job, task, state, reason, hosts, end, comment = words
                found.append(
                    Row(
                        job,
                        int(task) if task.isdigit() else -1,
                        state,
                        reason,
                        hosts,
                        comment.removeprefix(self._label),
                        float(end) if end.isdigit() and state in ENDED else 0.0,
                    )
                )
        return found

    async def cancel(self, ids: Sequence[str], *words: str) -> None:
        """`scancel` with these options; ids of jobs that have ended are no error. Raises `Busy`."""
        for place in range(0, len(ids), _IDS):
            await self._call("scancel", "-Q", *words, *ids[place : place + _IDS])

    async def hold(self, ids: Sequence[str], hold: bool) -> str:
        """Hold queued jobs or let them go; return what Slurm says against it."""
        said = ""
        for place in range(0, len(ids), _IDS):
            some = ",".join(ids[place : place + _IDS])
            code, _, errors = await self._call("scontrol", "hold" if hold else "release", some)
            said = said or (_last(errors) or "scontrol failed" if code else "")
        return said

    async def accounted(self, ids: Sequence[str]) -> dict[str, Accounted]:
        """What Slurm's accounting knows of tasks, by id. Raises `MemberError`."""
        found: dict[str, Accounted] = {}
        for place in range(0, len(ids), _IDS):
            some = ",".join(ids[place : place + _IDS])
            code, out, errors = await self._call("sacct", "-n", "-P", "-X", "-o", "JobID,End,State", "-j", some)
            if code:
                raise MemberError(f"sacct: {_last(errors)}", transient=True)
            for line in out.splitlines():
                words = line.split("|")
                if len(words) == 3:
                    state, _, who = words[2].partition(" by ")
                    told = Accounted(state, _user(who), float(words[1]) if words[1].isdigit() else 0.0)
                    found.update((name, told) for name in _expanded(words[0]))
        return found

    async def limits(self) -> Limits:
        """What the configuration says. Raises `MemberError` when the controller does not answer."""
        code, out, errors = await self._call("scontrol", "show", "config")
        if code:
            raise MemberError(f"scontrol: {_last(errors)}", transient=True)
        told = {name.strip(): text.strip() for name, _, text in (line.partition("=") for line in out.splitlines())}
        return Limits(
            max(1, int(told.get("MaxArraySize", 1001))),
            float(told.get("MinJobAge", "0").split()[0]),  # "300 sec"
            not told.get("AccountingStorageType", "none").endswith("none"),
        )

    async def sizes(self, partition: str) -> Sizes:
        """What a partition (empty: the default one, or all) has. Raises `MemberError`, for good if it is unknown."""
        code, out, errors = await self._call("sinfo", "-h", "-o", "%P|%D|%C|%c|%t")
        if code:
            raise MemberError(f"sinfo: {_last(errors)}", transient=True)
        rows = [line.split("|") for line in out.splitlines()]
        names = {row[0].rstrip("*") for row in rows}
        if partition and not set(partition.split(",")) <= names:
            raise MemberError(f"there is no partition {partition!r} here; there is {', '.join(sorted(names))}")
        wanted = set(partition.split(",")) or {""}
        own = [row for row in rows if (row[0].rstrip("*") in wanted if partition else row[0].endswith("*"))] or rows
        up = free = cores_up = cores_free = per_node = every = nodes_all = 0
        for _, nodes, cores, each, state in own:
            allocated, idle, other, total = (_number(word) for word in cores.split("/"))
            every += total
            nodes_all += _number(nodes)
            per_node = max(per_node, _number(each.rstrip("+")))
            cores_up += allocated + idle
            cores_free += idle
            if allocated + idle:
                up += _number(nodes)
            if state.startswith("idle") and not other:
                free += _number(nodes)
        return Sizes(up, free, cores_up, cores_free, per_node, every, nodes_all)


async def _all(stream: asyncio.StreamReader | None) -> bytes:
    return await stream.read() if stream is not None else b""


async def _heard(process: asyncio.subprocess.Process) -> bytes:
    """What a command complains of; one that will only wait for room is ended, for its caller can do better."""
    found = b""
    while process.stderr is not None and (line := await process.stderr.readline()):
        found += line
        if any(word in line.decode(errors="replace").lower() for word in _FULL):
            process.kill()
    return found


async def _say(process: asyncio.subprocess.Process, text: str) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(text.encode())
            await process.stdin.drain()
        process.stdin.close()


def _user(uid: str) -> str:
    """The name of a user whom `sacct` gives by number; empty when it gives none."""
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (ValueError, KeyError):
        return uid


def _expanded(job: str) -> Iterator[str]:
    """The ids that one line of `sacct` is about: `7_[2,5-6%4]` is three tasks."""
    array, bracket, tasks = job.partition("_[")
    if not bracket:
        yield job
        return
    for part in tasks.partition("]")[0].partition("%")[0].split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{array}_{number}"


def _number(text: str) -> int:
    """A number as `sinfo` writes it: 1.5K is 1500."""
    scale = {"K": 1000, "M": 1000_000}.get(text[-1:], 1)
    return int(float(text.rstrip("KM")) * scale)


def _last(errors: str) -> str:
    """The last line of what a command said, without its name."""
    line = errors.splitlines()[-1] if errors else ""
    for prefix in ("sbatch: error: ", "squeue: error: ", "Batch job submission failed: ", "slurm_load_jobs error: "):
        line = line.removeprefix(prefix)
    return line
