"""Slurm: `sbatch`, `squeue`, `scancel`, `scontrol`, `sinfo`, and `sacct` where there are accounts."""

from __future__ import annotations

__all__ = ["Slurm", "SlurmMember"]

import math
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from ensemble.members.batch.commands import in_parts, last_line
from ensemble.members.batch.dialect import (
    ENDING,
    LOST,
    OVER,
    RUNNING,
    WAITING,
    Accounted,
    Dialect,
    Limits,
    Row,
    Sizes,
    SubmissionRefused,
    Verdict,
)
from ensemble.members.batch.member import BatchMember
from ensemble.members.kit.options import is_yes
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec

_PASSED: Final = (
    "account", "constraint", "gres", "licenses", "mem", "mem-per-cpu", "nice", "partition", "prefer", "qos",
    "reservation",
)  # fmt: skip
"""Options that go to `sbatch` as they are."""
_BINDINGS: Final = {"core": "cores", "socket": "sockets"}

_VERDICTS: Final = {
    "BOOT_FAIL": LOST,
    "CANCELLED": Verdict("cancelled", "cancelled"),
    # a script ends well only once its record is written, which NFS may show late (it keeps attributes for a minute)
    "COMPLETED": Verdict(*LOST[:2], patience=12, began=True),
    "DEADLINE": Verdict("failed", "walltime"),
    # it may be said of a job that is requeued
    "FAILED": Verdict(*LOST[:2], patience=6),
    "NODE_FAIL": LOST,
    "OUT_OF_MEMORY": Verdict("failed", "signal"),
    "PREEMPTED": LOST,
    "REVOKED": LOST,
    "TIMEOUT": Verdict("failed", "walltime"),
}
"""States from which a job does not come back (a requeued one is PENDING again)."""

_TRANSIENT: Final = ("temporarily", "try again", "submit limit", "maxsubmit", "resource temporarily", "at limit")
_FULL: Final = ("temporarily unable to accept job", "job queue full", "job creation temporarily disabled")
"""What `sbatch` says before it sleeps and tries again, for two minutes: the controller has all the jobs it takes."""
_POLICY: Final = "accounting/qos policy"
_PING_SECONDS: Final = 5.0


class Slurm(Dialect):
    """Slurm, from version 20.11 on."""

    name = "Slurm"
    folder = "slurm"
    programs = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
    launchers = ("srun", "mpiexec", "none")
    options = (*_PASSED, "requeue")
    queue_option = "partition"
    unreachable = (
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
    on_node = """\
index=$SLURM_ARRAY_TASK_ID
native=${SLURM_ARRAY_JOB_ID}_$index
restart=${SLURM_RESTART_COUNT:-0}
node=${SLURMD_NODENAME:-$HOSTNAME}
"""
    _accounts = False
    """Whether `sacct` has records."""

    @classmethod
    def login_node(cls) -> bool:
        """Whether its controller answers here, and we are not inside one of its jobs."""
        if "SLURM_JOB_ID" in os.environ or not shutil.which("scontrol"):
            return False
        try:
            answer = subprocess.run(
                ["scontrol", "ping"],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=_PING_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return " is UP" in answer.stdout

    @classmethod
    def environment(cls, ours: Mapping[str, str]) -> dict[str, str]:
        """Without SLURM_CPU_BIND and the like; times are asked for in seconds since the epoch."""
        kept = {name: text for name, text in ours.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
        return {**kept, "SLURM_TIME_FORMAT": "%s"}

    # ---- submitting ----------------------------------------------------------------------------------

    def request(self, spec: JobSpec, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Options of `sbatch`."""
        if "clusters" in options:
            # the id that comes back would be another cluster's, and squeue here would say that the job is gone
            raise MemberError("clusters: a Slurm member is of one cluster; give each its own, with its SLURM_CONF")
        need = spec.resources
        words = [f"--job-name={spec.group}", f"--ntasks={need.tasks}", f"--cpus-per-task={need.cores}"]
        words += [f"--nodes={need.nodes}"] if need.nodes else []
        words += [f"--gpus-per-task={need.gpus}"] if need.gpus else []
        words += ["--exclusive"] if need.exclusive else []
        words += [f"--exclude={','.join(spec.avoid)}"] if spec.avoid else []
        # not a minute more: a walltime of the partition's whole limit is the usual thing to ask for
        words += [f"--time={math.ceil(spec.walltime / 60)}"] if spec.walltime else []
        words += ["--requeue" if is_yes(options["requeue"]) else "--no-requeue"] if "requeue" in options else []
        words += [f"--{name}={options[name]}" for name in _PASSED if name in options]
        return (*words, "--output=/dev/null", "--error=/dev/null", "--chdir=/", "--export=ALL")

    def launch(self, spec: JobSpec, launcher: str) -> list[str]:
        """`srun` with its tasks, cores and binding, or `mpiexec`."""
        need = spec.resources
        if launcher == "mpiexec":
            return ["mpiexec", "-n", str(need.tasks)]
        binding = [f"--cpu-bind={_BINDINGS.get(need.binding, need.binding)}"] if need.binding else []
        return ["srun", f"--ntasks={need.tasks}", f"--cpus-per-task={need.cores}", *binding]

    async def submit(self, array: str, count: int, request: Sequence[str], script: str) -> str:
        """One `sbatch --array`, named in its comment."""
        call = ("sbatch", "--parsable", f"--comment={self.label}{array}", f"--array=0-{count - 1}", *request)
        code, out, errors = await self.commands.call(*call, text=script, give_up=_is_full)
        if code:
            raise refusal(errors or f"sbatch ended with {code}")
        return out.strip().partition(";")[0]

    def task_id(self, array_id: str, number: int, count: int) -> str:
        """As `squeue` prints it: 7_0."""
        return f"{array_id}_{number}"

    def array_id(self, task_id: str) -> str:
        """What is before the `_`."""
        return task_id.partition("_")[0]

    # ---- asking --------------------------------------------------------------------------------------

    async def rows(self) -> list[Row]:
        """One `squeue` for all of our own jobs."""
        shape = "%F|%K|%T|%r|%N|%e|%k"
        out = await self.commands.ask("squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", shape)
        found = []
        for line in out.splitlines():
            words = line.split("|", 6)
            if len(words) == 7 and words[6].startswith(self.label) and (words[1].isdigit() or words[1] == "N/A"):
                job, task, state, reason, hosts, end, comment = words
                found.append(
                    Row(
                        f"{job}_{task}" if task.isdigit() else job,
                        comment.removeprefix(self.label),
                        OVER if state in _VERDICTS else {"PENDING": WAITING, "COMPLETING": ENDING}.get(state, RUNNING),
                        state,
                        "" if reason == "None" else reason,
                        hosts,
                        float(end) if end.isdigit() and state in _VERDICTS else 0.0,
                        _VERDICTS.get(state, LOST),
                    )
                )
        return found

    async def accounted(self, ids: Sequence[str]) -> dict[str, Accounted]:
        """What `sacct` says."""
        found: dict[str, Accounted] = {}
        for some in in_parts(ids) if self._accounts else ():
            out = await self.commands.ask("sacct", "-n", "-P", "-X", "-o", "JobID,End,State", "-j", ",".join(some))
            for line in out.splitlines():
                job, end, state = [*line.split("|"), "", ""][:3]
                state, _, who = state.partition(" by ")
                if state in _VERDICTS:
                    accounted = Accounted(state, _VERDICTS[state], _user(who), float(end) if end.isdigit() else 0.0)
                    found.update((name, accounted) for name in _expanded(job))
        return found

    async def limits(self) -> Limits:
        """MaxArraySize and MinJobAge of `scontrol show config`."""
        lines = (await self.commands.ask("scontrol", "show", "config")).splitlines()
        settings = {name.strip(): text.strip() for name, _, text in (line.partition("=") for line in lines)}
        self._accounts = not settings.get("AccountingStorageType", "none").endswith("none")
        age = settings.get("MinJobAge", "0").split()[0]  # "300 sec"
        return Limits(max(1, int(settings.get("MaxArraySize", 1001))), float(age))

    async def sizes(self) -> Sizes:
        """What the partition (none is named: the default one, or all) has, by `sinfo`."""
        partition = str(self.member_options.get("partition", ""))
        out = await self.commands.ask("sinfo", "-h", "-o", "%P|%D|%C|%c|%t|%E")
        rows = [line.split("|", 5) for line in out.splitlines()]
        names = {row[0].rstrip("*") for row in rows}
        if partition and not set(partition.split(",")) <= names:
            raise MemberError(
                f"there is no partition {partition!r} here; the partitions are {', '.join(sorted(names))}"
            )
        wanted = set(partition.split(",")) or {""}
        own = [row for row in rows if (row[0].rstrip("*") in wanted if partition else row[0].endswith("*"))] or rows
        up = free = cores_up = cores_free = per_node = every = nodes_all = 0
        troubles: list[str] = []
        for _, nodes, cores, each, state, trouble in own:
            allocated, idle, other, total = (_number(word) for word in cores.split("/"))
            every += total
            nodes_all += _number(nodes)
            per_node = max(per_node, _number(each.rstrip("+")))
            cores_up += allocated + idle
            cores_free += idle
            if allocated + idle:
                up += _number(nodes)
            else:
                troubles.append(f"{state}: {trouble}" if trouble != "none" else state)
            if state.startswith("idle") and not other:
                free += _number(nodes)
        trouble = "; ".join(dict.fromkeys(troubles))
        return Sizes(up, free, cores_up, cores_free, per_node, every, nodes_all, trouble)

    # ---- changing ------------------------------------------------------------------------------------

    async def remove(self, ids: Sequence[str]) -> None:
        """`scancel`; not by `--state=PENDING`: with it Slurm 22.05 cancels the whole array that a queued task is of."""
        await self.commands.each(ids, "scancel", "-Q")

    async def terminate(self, ids: Sequence[str]) -> None:
        """`scancel --full`, which reaches all processes."""
        await self.commands.each(ids, "scancel", "-Q", "--full", "--signal=TERM")

    async def kill(self, ids: Sequence[str]) -> None:
        """The same with SIGKILL; then it is taken from the queue, should it wait there again."""
        await self.commands.each(ids, "scancel", "-Q", "--full", "--signal=KILL")
        await self.remove(ids)


class SlurmMember(BatchMember):
    """Runs jobs as arrays of Slurm; see `BatchMember` for its options."""

    dialect: ClassVar = Slurm
    group_options: ClassVar = Slurm.options
    launchers: ClassVar = Slurm.launchers


def refusal(errors: str) -> SubmissionRefused:
    """What `sbatch` means by what it wrote to its errors."""
    reason = last_line(errors).removeprefix("Batch job submission failed: ")
    full = _is_full(errors)
    transient = any(word in reason.lower() for word in _TRANSIENT)
    if _POLICY in reason.lower():
        # one message for what may be asked again (too many jobs) and what never may (too long); the line before
        # it names the limit
        limit = errors.splitlines()[-2].rpartition(" ")[2] if len(errors.splitlines()) > 1 else ""
        if limit.endswith("Limit"):
            transient = "submit" in limit.lower()
            reason = f"{limit}: {reason}"
    return SubmissionRefused(reason, transient=transient, full=full)


def _is_full(errors: str) -> bool:
    return any(word in errors.lower() for word in _FULL)


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
