"""PBS (OpenPBS, PBS Professional): `qsub`, `qselect`, `qstat`, `qdel`, `qsig`, `pbsnodes`.

Untested on a real PBS: its tests run against a stand-in of these commands.
"""

from __future__ import annotations

__all__ = ["Pbs", "PbsMember"]

import contextlib
import json
import math
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from ensemble.members.batch.commands import in_parts, last_line
from ensemble.members.batch.dialect import (
    ENDING,
    LOST,
    OVER,
    RUNNING,
    WAITING,
    Dialect,
    Limits,
    Row,
    Sizes,
    SubmissionRefused,
    Verdict,
)
from ensemble.members.batch.member import BatchMember
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec

_OPTIONS: Final = {"account": "-A", "project": "-P", "queue": "-q", "priority": "-p"}
"""Options, and what `qsub` calls them."""
_PHASES: Final = {
    "H": WAITING, "Q": WAITING, "T": WAITING, "W": WAITING,
    "R": RUNNING, "S": RUNNING, "U": RUNNING,
    "E": ENDING,
    "F": OVER, "M": OVER, "X": OVER,
}  # fmt: skip
"""What `job_state` means; a job array that has begun (B) is left out, its tasks have rows of their own."""
_DELETED: Final = 91
"""The `substate` of a job that somebody deleted."""
_KILLED: Final = {
    -29: Verdict("failed", "walltime"),
    -27: Verdict("failed", "signal"),
    -26: Verdict("failed", "signal"),
}
"""The `Exit_status` of jobs that went beyond their walltime, memory or virtual memory."""
_SIGNALS: Final = 256
"""What `Exit_status` is above where a signal ended a job."""
_UNUSABLE: Final = ("down", "offline", "unknown", "stale", "provisioning", "maintenance")
_TRANSIENT: Final = ("would exceed", "try again", "temporarily")
_FULL: Final = ("maximum number of jobs already in", "exceeds server limit on number of jobs")
_OURS: Final = frozenset({"PBS_CONF_FILE", "PBS_DEFAULT", "PBS_EXEC", "PBS_HOME", "PBS_SERVER"})
_NAME: Final = "ENSEMBLE_ARRAY"
"""The variable of a job that holds the name of its array."""
_PING_SECONDS: Final = 5.0


class Pbs(Dialect):
    """PBS, from OpenPBS 19 and PBS Professional 19 on. It should keep a job history (`job_history_enable`)."""

    name = "PBS"
    folder = "pbs"
    programs = ("qsub", "qstat", "qselect", "qdel", "qsig", "pbsnodes")
    launchers = ("mpiexec", "none")
    options = (*_OPTIONS, "mem")
    queue_option = "queue"
    unreachable = (
        "cannot connect to server",
        "connection refused",
        "timed out",
        "communication failure",
        "no route to host",
        "end of file",
    )
    on_node = """\
index=${PBS_ARRAY_INDEX:-0}
native=$PBS_JOBID
restart=0
node=$HOSTNAME
"""
    _history: tuple[str, ...] = ()
    """The option of `qselect` and `qstat` that adds finished jobs, where the server keeps them."""

    @classmethod
    def login_node(cls) -> bool:
        """Whether its server answers here, and we are not inside one of its jobs."""
        if "PBS_JOBID" in os.environ or not shutil.which("qstat"):
            return False
        try:
            done = subprocess.run(["qstat", "-B"], capture_output=True, timeout=_PING_SECONDS, check=False)  # noqa: S607
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    @classmethod
    def environment(cls, ours: Mapping[str, str]) -> dict[str, str]:
        """Without PBS_NODEFILE and the like."""
        return {name: text for name, text in ours.items() if not name.startswith("PBS_") or name in _OURS}

    # ---- submitting ----------------------------------------------------------------------------------

    def request(self, spec: JobSpec, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Options of `qsub`: a chunk for each task, or for each node where a number of nodes is asked for."""
        need = spec.resources
        chunks = need.nodes or need.tasks
        tasks = math.ceil(need.tasks / chunks)
        chunk = [f"ncpus={tasks * need.cores}", f"mpiprocs={tasks}"]
        chunk += [f"ngpus={tasks * need.gpus}"] if need.gpus else []
        chunk += [f"mem={options['mem']}"] if "mem" in options else []
        place = [*(["scatter"] if need.nodes else ["free"]), *(["excl"] if need.exclusive else [])]
        # a job cannot see that PBS started it again, so PBS must not do that: a retry is a new attempt
        words = ["-N", spec.group[:15], "-r", "n", "-V", "-o", "/dev/null", "-e", "/dev/null"]
        words += ["-l", f"select={chunks}:{':'.join(chunk)}", "-l", f"place={':'.join(place)}"]
        words += ["-l", f"walltime={math.ceil(spec.walltime)}"] if spec.walltime else []
        for name, letter in _OPTIONS.items():
            words += [letter, str(options[name])] if name in options else []
        return tuple(words)

    def launch(self, spec: JobSpec, launcher: str) -> list[str]:
        """`mpiexec` with its tasks."""
        return [launcher, "-n", str(spec.resources.tasks)]

    async def submit(self, array: str, count: int, request: Sequence[str], script: str) -> str:
        """One `qsub -J`, or a plain one for a single job: PBS has no arrays of one. A variable holds the name."""
        tasks = ("-J", f"0-{count - 1}") if count > 1 else ()
        name = ("-v", f"{_NAME}={self.label}{array}")
        code, out, errors = await self.commands.call("qsub", *tasks, *name, *request, text=script)
        if code:
            said = errors.lower()
            full = any(word in said for word in _FULL)
            transient = any(word in said for word in _TRANSIENT)
            raise SubmissionRefused(last_line(errors) or f"qsub ended with {code}", transient=transient, full=full)
        return out.strip()

    def task_id(self, array_id: str, number: int, count: int) -> str:
        """As `qstat -t` prints it: 7[0].server; a single job is no array."""
        return array_id.replace("[]", f"[{number}]")

    def array_id(self, task_id: str) -> str:
        """Without the task's number: 7[].server."""
        return re.sub(r"\[\d+\]", "[]", task_id)

    # ---- asking --------------------------------------------------------------------------------------

    async def rows(self) -> list[Row]:
        """The ids of our user's jobs by `qselect`, then their attributes by `qstat`."""
        user = pwd.getpwuid(os.getuid()).pw_name
        ids = (await self.commands.ask("qselect", *self._history, "-u", user)).split()
        found: list[Row] = []
        for some in in_parts(ids):
            # one that the server has just forgotten is an error, and the others are printed all the same
            _, out, errors = await self.commands.call("qstat", *self._history, "-t", "-f", "-F", "json", *some)
            try:
                jobs: dict[str, dict[str, Any]] = json.loads(out).get("Jobs", {})
            except ValueError as error:
                raise MemberError(f"qstat: {last_line(errors) or error}", transient=True) from error
            comments = {job: str(fields.get("comment", "")) for job, fields in jobs.items()}
            for job, fields in jobs.items():
                row = self._row(job, fields, comments.get(self.array_id(job), ""))
                if row is not None:
                    found.append(row)
        return found

    def _row(self, job: str, fields: dict[str, Any], comment: str) -> Row | None:
        name = str((fields.get("Variable_List") or {}).get(_NAME, ""))
        phase = _PHASES.get(fields.get("job_state", ""))
        if phase is None or not name.startswith(self.label) or ("[]" in job and phase != OVER):
            return None
        reason = str(fields.get("comment") or comment).removeprefix("Not Running: ") if phase == WAITING else ""
        hosts = dict.fromkeys(part.partition("/")[0] for part in str(fields.get("exec_host", "")).split("+"))
        return Row(
            job,
            name.removeprefix(self.label),
            phase,
            f"{fields['job_state']} (exit status {fields.get('Exit_status', 'unknown')})" if phase == OVER else "",
            reason,
            ",".join(host for host in hosts if host),
            _time(fields) if phase == OVER else 0.0,
            _verdict(fields) if phase == OVER else LOST,
        )

    async def limits(self) -> Limits:
        """Of the server: `max_array_size`, and how long it keeps the history of jobs."""
        servers = json.loads(await self.commands.ask("qstat", "-B", "-f", "-F", "json")).get("Server", {})
        server: dict[str, Any] = next(iter(servers.values()), {})
        keeps = str(server.get("job_history_enable", "False")).lower() in ("true", "1")
        self._history = ("-x",) if keeps else ()
        age = str(server.get("job_history_duration", "336:00:00")) if keeps else "0"
        seconds = 0
        for part in age.split(":"):
            seconds = 60 * seconds + int(part)
        return Limits(max(1, int(server.get("max_array_size", 10000))), float(seconds))

    async def sizes(self) -> Sizes:
        """All nodes of the server, by `pbsnodes`; that the queue is there, by `qstat -Q`."""
        if queue := str(self.member_options.get("queue", "")):
            queues = json.loads(await self.commands.ask("qstat", "-Q", "-f", "-F", "json")).get("Queue", {})
            if queue not in queues:
                raise MemberError(f"there is no queue {queue!r} here; the queues are {', '.join(sorted(queues))}")
        nodes = json.loads(await self.commands.ask("pbsnodes", "-a", "-F", "json")).get("nodes", {})
        up = free = cores_up = cores_free = per_node = every = 0
        troubles: dict[str, None] = {}
        for fields in nodes.values():
            cores = int(fields.get("resources_available", {}).get("ncpus", 0))
            busy = int(fields.get("resources_assigned", {}).get("ncpus", 0))
            state = str(fields.get("state", ""))
            every, per_node = every + cores, max(per_node, cores)
            if any(word in state for word in _UNUSABLE):
                troubles[": ".join(filter(None, (state, str(fields.get("comment", "")))))] = None
                continue
            up, cores_up, cores_free = up + 1, cores_up + cores, cores_free + max(0, cores - busy)
            free += not busy
        return Sizes(up, free, cores_up, cores_free, per_node, every, len(nodes), "; ".join(troubles))

    # ---- changing ------------------------------------------------------------------------------------

    async def remove(self, ids: Sequence[str]) -> None:
        """`qdel`."""
        await self.commands.each(ids, "qdel")

    async def terminate(self, ids: Sequence[str]) -> None:
        """`qsig`, which leaves it to the job when it ends."""
        await self.commands.each(ids, "qsig", "-s", "SIGTERM")

    async def kill(self, ids: Sequence[str]) -> None:
        """SIGKILL; then it is deleted, should it wait again."""
        await self.commands.each(ids, "qsig", "-s", "SIGKILL")
        await self.remove(ids)


class PbsMember(BatchMember):
    """Runs jobs as arrays of PBS; see `BatchMember` for its options."""

    dialect: ClassVar = Pbs
    group_options: ClassVar = Pbs.options
    launchers: ClassVar = Pbs.launchers


def _verdict(fields: Mapping[str, Any]) -> Verdict:
    """How a job ended by its attributes."""
    status = fields.get("Exit_status")
    code = int(status) if status is not None else None
    if int(fields.get("substate", 0)) == _DELETED or (code is not None and code > _SIGNALS):
        return Verdict("cancelled", "cancelled")
    if code is not None and code in _KILLED:
        return _KILLED[code]
    if code is None or code < 0:
        return LOST
    # a script ends well only once its record is written, which NFS may show late
    return Verdict(*LOST[:2], patience=6 if code else 12, began=not code)


def _time(fields: Mapping[str, Any]) -> float:
    """When an ended job's attributes last changed, in seconds since the epoch; 0 where that is not said."""
    with contextlib.suppress(ValueError):
        return time.mktime(time.strptime(str(fields.get("mtime", "")), "%a %b %d %H:%M:%S %Y"))
    return 0.0
