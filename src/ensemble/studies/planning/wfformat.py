"""Workflows in WfFormat, the JSON format of WfCommons: read as plans, and written from experiments.

Version 1.5 is written; 1.5 and 1.6 are read, which do not differ in what is used here. Source: the format's schema and
description at https://github.com/wfcommons/WfFormat.
"""

from __future__ import annotations

__all__ = ["read_workflow", "workflow_groups", "write_workflow"]

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble import __version__
from ensemble.model.errors import FileError, InputError
from ensemble.spec.convert import nearest
from ensemble.studies.planning.experiment import Task, write_text

VERSION: Final = "1.5"
_READ: Final = ("1.5", "1.6")


# ---- what is read of a file: https://github.com/wfcommons/WfFormat names the properties ------------------------


class _SpecifiedTask(Struct):
    id: str
    name: str
    parents: list[str] = []


class _ExecutedTask(Struct, rename="camel"):
    id: str
    runtime_in_seconds: float
    core_count: float = 1.0


class _Specification(Struct):
    tasks: list[_SpecifiedTask]


class _Execution(Struct):
    tasks: list[_ExecutedTask]


class _Workflow(Struct):
    specification: _Specification
    execution: _Execution


class _File(Struct, rename="camel"):
    schema_version: str
    workflow: _Workflow


def read_workflow(path: str | Path) -> list[Task]:
    """Read the tasks of a workflow, each after those that it waits for.

    Raises `FileError` where the file cannot be read, and `InputError` where it is not WfFormat 1.5 or 1.6, a parent or
    a run time is missing, or tasks wait for each other.
    """
    try:
        file = msgspec.json.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: this is not a workflow with run times in WfFormat {VERSION}: {error}") from error
    if file.schema_version not in _READ:
        raise InputError(f"{path}: WfFormat {file.schema_version} is not read here, only {' and '.join(_READ)}")
    runs = {one.id: one for one in file.workflow.execution.tasks}
    specified = {one.id: one for one in file.workflow.specification.tasks}
    for task in specified.values():
        if task.id not in runs:
            raise InputError(f"{path}: task {task.id} has no run time")
        for parent in task.parents:
            if parent not in specified:
                raise InputError(
                    f"{path}: task {task.id} waits for {parent!r}, which is no task. "
                    f"{nearest(parent, sorted(specified))}"
                )
    try:
        order = list(TopologicalSorter({one.id: one.parents for one in specified.values()}).static_order())
    except CycleError as error:
        raise InputError(f"{path}: tasks wait for each other: {' -> '.join(error.args[1])}") from error
    return [
        Task(
            one,
            specified[one].name,
            runs[one].runtime_in_seconds,
            max(1, math.ceil(runs[one].core_count)),
            tuple(specified[one].parents),
        )
        for one in order
    ]


def workflow_groups(tasks: Sequence[Task], template: Mapping[str, Any]) -> dict[str, Any]:
    """The `jobs` and `rules` of an ensemble file that runs a workflow; tasks of one name are one group.

    `template` is the group of a job whose axes are `seconds` and `tasks`.
    """
    places = {task.id: (_group_name(task.name), number) for number, task in enumerate(tasks, 1)}
    points: dict[str, list[dict[str, Any]]] = {}
    rules = []
    for task in tasks:
        group, number = places[task.id]
        point = {"n": number, "seconds": round(task.seconds, 3), "tasks": task.cores}
        points.setdefault(group, []).append(point)
        done = [f"count.{name}[n={parent}].success >= 1" for name, parent in map(places.__getitem__, task.parents)]
        when = {"trigger": "metric", "when": " and ".join(done)} if done else {"trigger": "start"}
        rules.append({**when, "action": {"name": "submit", "label": group, "parameters": {"list": [point]}}})
    groups = [
        {"name": name, **template, "parameters": {"list": some}, "submit": "rules"} for name, some in points.items()
    ]
    return {"jobs": groups, "rules": rules}


def _group_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:100] or "task"


def write_workflow(path: Path, name: str, tasks: Sequence[Task], makespan: float, created: datetime) -> None:
    """Write tasks with their run times as a workflow. Raises `FileError` where it cannot be written."""
    children: dict[str, list[str]] = {task.id: [] for task in tasks}
    for task in tasks:
        for parent in task.parents:
            children[parent].append(task.id)
    specified = [
        {"name": task.name, "id": task.id, "parents": list(task.parents), "children": children[task.id]}
        for task in tasks
    ]
    executed = [{"id": task.id, "runtimeInSeconds": task.seconds, "coreCount": task.cores} for task in tasks]
    time = created.isoformat(timespec="seconds")
    file = {
        "name": name,
        "createdAt": time,
        "schemaVersion": VERSION,
        "runtimeSystem": {"name": "Ensemble", "version": __version__},
        "workflow": {
            "specification": {"tasks": specified},
            "execution": {"makespanInSeconds": round(makespan, 3), "executedAt": time, "tasks": executed},
        },
    }
    write_text(path, json.dumps(file, indent=1) + "\n")
