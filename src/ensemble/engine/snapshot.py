"""The state as plain data and back: what bounds the time of a resume.

What the file says is not in it: the state is built from the file, then what has happened is added from the snapshot.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any
from zlib import compress, decompress

from msgspec import convert, to_builtins

from ensemble.engine.budget import restore_ends
from ensemble.engine.build import Builder
from ensemble.engine.calls import lines_plain, restore_lines
from ensemble.engine.placement import nodes_of, piece_on
from ensemble.engine.rules import park, unpark
from ensemble.engine.state import Cell, Failures, Group, Job, State
from ensemble.engine.transitions import NEW
from ensemble.metrics import PendingSeries, Series
from ensemble.model.decisions import Call, End, MemberSize, Resize, Span, Submit
from ensemble.model.events import JobEvent
from ensemble.model.jobs import STORED_COUNTS
from ensemble.spec.model import LimitsSpec

FORMAT = 1

_JOB = (
    "code",
    "attempt",
    "incarnation",
    "member",
    "submitted_at",
    "waits",
    "run_at",
    "run_time",
    "ended",
    "node_seconds",
    "cost",
    "retries",
    "losses",
    "cancelling",
    "hosts",
    "avoid",
    "nodes",
    "takes",
    "until",
)
_MEMBER = (
    "state",
    "opened",
    "stream",
    "position",
    "capabilities",
    "nodes_up",
    "nodes_free",
    "cores_up",
    "cores_free",
    "gpus_up",
    "cores_per_node",
    "target",
    "holds",
    "changed_at",
    "queue",
    "outstanding",
    "outstanding_cores",
    "running_nodes",
    "running_since",
    "text",
    "waiting",
)
_STATE = (
    "run",
    "run_dir",
    "seed",
    "seq",
    "now",
    "started",
    "firings",
    "next_command",
    "draining",
    "dropped",
    "terminating",
    "limit",
    "avoid",
    "algorithm",
    "memory",
    "spent_node_seconds",
    "spent_cost",
    "reserved_node_seconds",
    "reserved_cost",
    "notes",
    "backlog",
    "cancelled_outside",
    "refused",
    "paused",
)
_RULE = ("left", "skip", "fired", "last", "until", "open", "interval_at", "removed")


def snapshot(state: State, builder: Builder) -> dict[str, Any]:
    """Return everything that has happened, as data for JSON."""
    return {
        "format": FORMAT,
        "state": {name: getattr(state, name) for name in _STATE},
        "ended": to_builtins(state.ended),
        "switches": state.switches,
        "algorithm_options": state.algorithm_options,
        "groups": {name: _group(group) for name, group in state.groups.items()},
        "total": _cell(state.total),
        "jobs": [
            [
                job.key,
                job.group.name,
                job.point.index,
                job.number,
                [getattr(job, name) for name in _JOB],
                to_builtins(job.last),
            ]
            for job in state.jobs.values()
        ],
        "members": {name: {field: getattr(m, field) for field in _MEMBER} for name, m in state.members.items()},
        "added": state.added,
        **_changed(state, builder),
        "rules": {rule.id: [getattr(rule, name) for name in _RULE] for rule in state.rules.values()},
        "commands": [to_builtins(command) for command in state.commands.values()],
        "calls": [[command, rule] for command, rule in state.calls.items()],
        "lines": lines_plain(state),
        "function_error": state.function_error,
        "held": state.held,
        "keys": {key: to_builtins(spans) for key, spans in state.keys.items()},
        "timers": [list(timer) for timer in state.timers],
    }


def _changed(state: State, builder: Builder) -> dict[str, Any]:
    """What is not as in the file any more; nothing of what is."""
    found: dict[str, Any] = {}
    if state.limits is not builder.plan.spec.limits:
        found["limits"] = to_builtins(state.limits)
    removed = [each.id for each in state.each if each.removed]
    if removed:
        found["removed"] = removed
    sizes = [to_builtins(one.sizes) for one in state.members.values() if one.sizes != builder.first_sizes(one.name)]
    if sizes:
        found["sizes"] = sizes
    return found


def _restore_changed(data: dict[str, Any], state: State) -> None:
    if "limits" in data:
        state.limits = convert(data["limits"], LimitsSpec)
    for each in state.each:
        each.removed = each.id in data.get("removed", ())
    for size in convert(data.get("sizes", []), list[MemberSize]):
        state.members[size.member].sizes = size


def _group(group: Group) -> dict[str, Any]:
    return {
        "points": [[point.template, point.values, sorted(point.warm)] for point in group.points],
        "created": group.created,
        "backlog": to_builtins(list(group.backlog)),
        "waiting": group.waiting,
        "ready": list(group.ready),
        "outstanding": group.outstanding,
        **({"parents": list(group.parents.items())} if group.parents else {}),
        "done": b64encode(compress(bytes(group.done))).decode(),
        "failures": [[*kind, one.example, one.attempt, one.text, one.count] for kind, one in group.failures.items()],
        "cells": [[list(map(list, cell.binding)), _cell(cell)] for cell in group.cells.values()],
    }


def _cell(cell: Cell) -> list[Any]:
    return [
        [getattr(cell, name) for name in STORED_COUNTS],
        {name: series.state() for name, series in cell.series.items()},
        cell.waits.state(),
    ]


def restore(data: dict[str, Any], state: State, builder: Builder) -> None:
    """Lay a snapshot over a state just built from the same file. Raises `ValueError` for another format."""
    if data.get("format") != FORMAT:
        raise ValueError(f"a snapshot of format {data.get('format')!r}, this version reads {FORMAT}")
    for name in _STATE:
        # a snapshot of an earlier version lacks the fields that came after it
        setattr(state, name, data["state"].get(name, getattr(state, name)))
    state.avoid = tuple(state.avoid)
    state.ended = convert(data["ended"], End | None)
    state.algorithm_options = data["algorithm_options"]
    for name, fields in data["members"].items():
        for field, value in fields.items():
            if field in _MEMBER:
                setattr(state.members[name], field, tuple(value) if field == "capabilities" else value)
    for name, plain in data["groups"].items():
        group = state.groups[name]
        for template, values, _ in plain["points"][len(group.points) :]:
            builder.add_point(group, template, values)
    for rule_id, rule, owner in data["added"]:
        builder.add_rule(rule_id, rule, owner)
    _restore_changed(data, state)
    builder.in_order(data["rules"])
    state.switches = data["switches"]
    for name, plain in data["groups"].items():
        _restore_group(state.groups[name], plain, builder)
    _restore_cell(state.total, data["total"])
    for key, group_name, index, number, fields, last in data["jobs"]:
        group = state.groups[group_name]
        job = Job(key, group, group.points[index], number)
        # a snapshot of an earlier version lacks the last fields
        for name, value in zip(_JOB, fields, strict=False):
            setattr(job, name, tuple(value) if name == "avoid" else value)
        job.last = convert(last, JobEvent | None)
        state.jobs[key] = job
    for rule_id, fields in data["rules"].items():
        known = state.rules[rule_id]
        park(known)
        for name, value in zip(_RULE, fields, strict=True):
            setattr(known, name, value)
        if known.trigger == "metric":
            unpark(known)
    builder.index_triggers()
    for plain in data["commands"]:
        command = convert(plain, Submit | Resize | Call)
        state.commands[command.id] = command
    state.calls = {command: rule for command, rule in data["calls"]}  # noqa: C416
    restore_lines(data.get("lines", []), state)
    state.held = data.get("held", False)
    state.keys = {key: convert(spans, tuple[Span, ...]) for key, spans in data.get("keys", {}).items()}
    state.function_error = data.get("function_error", "")
    state.timers[:] = [(when, order, kind, name) for when, order, kind, name in data["timers"]]
    _restore_budget(data, state, builder)


def _restore_budget(data: dict[str, Any], state: State, builder: Builder) -> None:
    """What is kept only where a limit asks for it: what jobs take and when they end."""
    for job in state.jobs.values():
        if job.code == NEW:
            continue
        member = state.members[job.member]
        if not job.nodes:
            job.nodes = nodes_of(job.point, member)
            job.until = job.run_at or job.submitted_at
        if not builder.plan.budgeted:
            continue
        job.piece = piece_on(job.point, member)
        member.taken.add(job.piece, 1)
        if job.run_at and "running_nodes" not in data["members"][job.member]:
            member.running_nodes += job.nodes
            member.running_since += job.nodes * (job.run_at - state.started)
    if builder.plan.budgeted:
        restore_ends(state)


def _restore_group(group: Group, plain: dict[str, Any], builder: Builder) -> None:
    for point, (_, _, warm) in zip(group.points, plain["points"], strict=True):
        point.warm = set(warm)
    group.created = plain["created"]
    group.backlog.extend(convert(plain["backlog"], list[Span]))
    group.waiting = plain["waiting"]
    group.ready.extend(plain["ready"])
    group.outstanding = plain["outstanding"]
    for reason, exit_code, number, example, attempt, text, count in plain.get("failures", ()):
        group.failures[reason, exit_code, number] = Failures(example, attempt, text, count)
    group.parents = dict(plain.get("parents", ()))
    group.done = bytearray(decompress(b64decode(plain["done"])))
    for binding, cell in plain["cells"]:
        _restore_cell(builder.cell(group, tuple((axis, value) for axis, value in binding)), cell)
    order = [tuple((axis, value) for axis, value in binding) for binding, _ in plain["cells"]]
    cells = {binding: group.cells[binding] for binding in order}
    group.cells.clear()
    group.cells.update(cells)


def _restore_cell(cell: Cell, plain: list[Any]) -> None:
    counts, series, waits = plain
    for name, value in zip(STORED_COUNTS, counts, strict=True):
        setattr(cell, name, value)
    for name, data in series.items():
        cell.series[name] = Series.from_state(data)
    cell.waits = PendingSeries.from_state(waits)
