"""From a job's description to a jobspec of Flux (RFC 14, RFC 25) and the files that it needs."""

from __future__ import annotations

__all__ = ["LAUNCHERS", "OPTIONS", "jobspec", "plan", "prepare", "urgency"]

import contextlib
import os
import shutil
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ensemble.members.flux.carrying import carry
from ensemble.members.flux.entries import Mark
from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.program import Program, job_program
from ensemble.members.kit.staging import stage
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec
from ensemble.model.placement import UNKNOWN, nodes_for

OPTIONS: Final = ("bank", "queue", "requires", "urgency")
"""Options, of the member or of a group, that say how a job is submitted."""
LAUNCHERS: Final = ("flux", "mpiexec", "none")
_URGENCY: Final = 16
_MOST: Final = 31
_AFFINITY: Final = {"core": "per-task", "none": "off", "socket": "on", "": "on"}


def urgency(options: dict[str, Any]) -> int:
    """The urgency that the options ask for. Raises `MemberError` for one that Flux does not know."""
    given = options.get("urgency", _URGENCY)
    try:
        found = int(str(given))
    except ValueError:
        found = -1
    if not 0 <= found <= _MOST:
        raise MemberError(f"option `urgency` of a Flux member is a number from 0 to {_MOST}, not {given!r}")
    return found


def prepare(spec: JobSpec, run_dir: str) -> Program:
    """Make a job's directories and files; return the program of one task.

    Raises `MemberError`, `StagingError`, `OSError`.
    """
    files = JobFiles(run_dir, spec.ref.key, spec.ref.attempt)
    os.makedirs(files.folder, exist_ok=True)
    workdir = os.path.join(run_dir, spec.workdir)
    os.makedirs(workdir, exist_ok=True)
    stage(spec.inputs, workdir)
    program = plan(spec, run_dir)
    for path, text in program.files.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    if spec.setup or spec.cleanup:
        # an earlier try of this attempt may have written into it
        with contextlib.suppress(FileNotFoundError):
            os.unlink(files.phase)
    return program


def plan(spec: JobSpec, run_dir: str) -> Program:
    """The program of one task, with the files that it needs and that are not written yet. Raises `MemberError`."""
    return job_program(spec, JobFiles(run_dir, spec.ref.key, spec.ref.attempt), _launch(spec))


def runs_once(spec: JobSpec) -> bool:
    """Whether Flux starts one program for the whole job, which sees to its tasks itself."""
    if spec.launcher not in ("auto", *LAUNCHERS):
        raise MemberError(f"this member has no launcher {spec.launcher!r}, only {', '.join(LAUNCHERS)}")
    return spec.launcher in ("mpiexec", "none") or (spec.resources.tasks > 1 and bool(spec.setup or spec.cleanup))


def _launch(spec: JobSpec) -> list[str]:
    """The words before the program where it is started by one script for all tasks."""
    need = spec.resources
    if not runs_once(spec) or spec.launcher == "none":
        return []
    if spec.launcher == "mpiexec":
        return ["mpiexec", "-n", str(need.tasks)]
    gpus = [f"--gpus-per-task={need.gpus}"] if need.gpus else []
    return ["flux", "run", f"--ntasks={need.tasks}", f"--cores-per-task={need.cores}", *gpus]


def nested(spec: JobSpec) -> bool:
    """Whether the job needs an instance of its own: its script starts tasks by itself, or it spans nodes."""
    if not runs_once(spec):
        return False
    return spec.resources.nodes > 1 or (spec.launcher in ("auto", "flux") and spec.resources.tasks > 1)


def _resources(spec: JobSpec, cores_per_node: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The resources, and the count of tasks in them."""
    need = spec.resources
    one = runs_once(spec) and not nested(spec)
    slots = 1 if one else need.tasks
    scale = need.tasks if one else 1
    inside: list[dict[str, Any]] = [{"type": "core", "count": need.cores * scale}]
    if need.gpus:
        inside.append({"type": "gpu", "count": need.gpus * scale})
    nodes = need.nodes
    if need.exclusive and not nodes:
        nodes = nodes_for(need, cores_per_node, UNKNOWN) or 1
    slot = {"type": "slot", "count": slots, "with": inside, "label": "task"}
    if nodes:
        slot["count"] = -(-slots // nodes)
        node: dict[str, Any] = {"type": "node", "count": nodes, "with": [slot]}
        if need.exclusive:
            node["exclusive"] = True
        found, even = [node], slots % nodes == 0
    else:
        found, even = [slot], True
    return found, {"per_slot": 1} if even else {"total": slots}


def jobspec(
    spec: JobSpec,
    words: list[str],
    *,
    run_dir: str,
    environment: dict[str, str],
    options: dict[str, Any],
    mark: Mark,
    cores_per_node: int,
    constraints: list[Any],
    carried: Mapping[str, str] | None = None,
) -> bytes:
    """The jobspec, version 1, as JSON. `environment` is the whole one of each task, `constraints` are all to be met.

    `carried`: the files (path to text) that go along where nodes have no file system in common (None: they have one).
    """
    files = JobFiles(run_dir, spec.ref.key, spec.ref.attempt)
    resources, count = _resources(spec, cores_per_node)
    shell: dict[str, Any] = {
        "output": {"stdout": _file(files.stdout), "stderr": _file(files.stderr)},
        # the shell writes into the KVS that input is redirected; it would wait half a second for more to write
        "input": {"stdin": _file(os.devnull), "batch-timeout": 0.0},
    }
    if spec.resources.binding:
        shell["cpu-affinity"] = _AFFINITY.get(spec.resources.binding, spec.resources.binding)
    if spec.resources.gpus and count != {"total": 1}:
        shell["gpu-affinity"] = "per-task"
    if nested(spec):
        words = [shutil.which("flux") or "flux", "start", *words]
        shell["per-resource"] = {"type": "node"}
        shell["mpi"] = "none"
        shell["cpu-affinity"] = shell["gpu-affinity"] = "off"
    elif runs_once(spec):
        shell["pmi"] = "off"  # mpiexec sees to it
    workdir = os.path.join(run_dir, spec.workdir)
    attached: dict[str, Any] = {}
    if carried is not None:
        words, attached["files"] = carry(words, workdir, carried)
        del shell["output"]  # Flux keeps it
    system: dict[str, Any] = {
        "duration": spec.walltime,
        "environment": environment,
        "cwd": workdir if carried is None else "/",
        **attached,
        "shell": {"options": shell},
        "job": {"name": spec.group},
    }
    system.update({name: str(options[name]) for name in ("bank", "queue") if name in options})
    if constraints:
        system["constraints"] = constraints[0] if len(constraints) == 1 else {"and": constraints}
    return msgspec.json.encode(
        {
            "version": 1,
            "resources": resources,
            "tasks": [{"command": words, "slot": "task", "count": count}],
            "attributes": {"system": system, "user": {"ensemble": mark}},
        }
    )


def _file(path: str) -> dict[str, str]:
    return {"type": "file", "path": path}
