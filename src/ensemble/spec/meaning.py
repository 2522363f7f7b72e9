"""What a file means, beyond each value's form: names that must exist, expressions that must parse, functions that
must be there."""

from __future__ import annotations

__all__ = ["check_condition", "check_meaning", "check_rule", "functions_in"]

import ast
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ensemble.metrics.statistics import STATISTICS
from ensemble.model.errors import ExpressionError, InputError
from ensemble.model.jobs import COUNTS
from ensemble.spec.actions import ActionCheck, traits
from ensemble.spec.convert import Converter, nearest
from ensemble.spec.expressions import (
    MetricPath,
    is_condition,
    is_quantity,
    is_statistic,
    names,
    parse,
    parse_condition,
    paths,
    quantities,
    resolve_old,
)
from ensemble.spec.model import EACH_POINT, EnsembleSpec, GroupSpec, RuleSpec
from ensemble.spec.nodes import Place
from ensemble.spec.outline import Outline
from ensemble.spec.render import Renderer
from ensemble.spec.starting import axes_of, groups_that_start
from ensemble.spec.vocabulary import MEMBER_METRICS, QUANTITIES

_FIELD = re.compile(r"group [\w-]+: (\w+): ")
"""The field that a message of the renderer is about."""


def check_meaning(
    reader: Converter, spec: EnsembleSpec, algorithms: Collection[str], kinds: Collection[str] = ()
) -> None:
    """Note every problem of a whole file."""
    if spec.algorithm is not None:
        _algorithm(reader, spec, spec.algorithm.name, spec.algorithm.options, algorithms, "algorithm", "name")
    for name, member in spec.members.items():
        if kinds and member.kind not in kinds:
            where = f"members.{name}"
            reader.complain(
                _place(reader, where, "kind"),
                where,
                f"there is no kind of member {member.kind!r}",
                nearest(member.kind, sorted(kinds)),
            )
    if spec.custom:
        functions_in(reader, spec)
    outline = Outline(spec)
    renderer = Renderer(spec, "run", "/run")
    seen: dict[str, int] = {}
    for index, group in enumerate(spec.jobs):
        template = seen.get(group.name, 0)
        seen[group.name] = template + 1
        _group(reader, outline, renderer, group, template, f"jobs[{index}]")
    _followers(reader, spec)
    known: dict[str, int] = {}
    for index, rule in enumerate(spec.rules):
        where = f"rules[{index}]"
        if rule.id:
            if rule.id in known:
                reader.complain(
                    reader.places[f"{where}.id"], f"{where}.id", f"rule {known[rule.id] + 1} has this id too"
                )
            known[rule.id] = index
        check_rule(reader, outline, rule, where, algorithms)


def _algorithm(
    reader: Converter,
    spec: EnsembleSpec,
    name: str,
    options: Mapping[str, Any],
    algorithms: Collection[str],
    where: str,
    key: str,
) -> None:
    if not algorithms:
        return
    if name not in algorithms:
        reader.complain(
            _place(reader, where, key), where, f"there is no algorithm {name!r}", nearest(name, sorted(algorithms))
        )
        return
    algorithm = algorithms[name] if isinstance(algorithms, Mapping) else None
    if algorithm is not None:
        try:
            checked = algorithm.validate(options)
            if hasattr(algorithm, "check"):
                algorithm.check(checked, spec)
        except InputError as error:
            reader.complain(_place(reader, where, "options", key), f"{where}.options", str(error))


def _place(reader: Converter, where: str, *names: str) -> Place:
    for name in names:
        found = reader.places.get(f"{where}.{name}")
        if found is not None:
            return found
    return reader.places.get(where, Place())


# ---- groups ----------------------------------------------------------------------------------------


def _group(
    reader: Converter, outline: Outline, renderer: Renderer, group: GroupSpec, template: int, where: str
) -> None:
    spec, members = outline.spec, outline.members
    place = _place(reader, where, "command", "name")
    if not group.command.strip():
        if any(problem.where == f"{where}.command" for problem in reader.problems):
            return
        reader.complain(place, where, f"group {group.name} has no command")
        return
    if group.member and "{" not in group.member and group.member not in members:
        reader.complain(
            _place(reader, where, "member"),
            f"{where}.member",
            f"there is no member {group.member!r}",
            nearest(group.member, members),
        )
    try:
        for values in group.points[:100]:
            renderer.render(group.name, template, dict(values), f"{group.name}-0", 1)
    except InputError as error:
        field = _FIELD.match(str(error))
        named = _place(reader, where, field[1]) if field else place
        reader.complain(named, f"{where}.{field[1]}" if field else where, str(error))
    for name in group.outputs:
        if name in QUANTITIES:
            inner = f"{where}.outputs.{name}"
            reader.complain(
                reader.places.get(inner, _place(reader, where, "outputs")),
                inner,
                f"every group has the quantity {name!r} already; a figure needs another name",
            )
    limits = spec.limits
    if (limits.node_hours or limits.cost) and not group.walltime:
        what = "node_hours" if limits.node_hours else "cost"
        reader.complain(
            _place(reader, where, "name"),
            where,
            f"group {group.name} has no walltime",
            f"`limits.{what}` reserves nodes x walltime for each job before it starts, so every group needs one.",
        )
    if group.valid:
        known = {*group.outputs, *group.axes, "duration", "exit_code", "attempt"}
        check_condition(reader, _place(reader, where, "valid"), f"{where}.valid", group.valid, known)
    for name, text in group.derived.items():
        inner = f"{where}.derived.{name}"
        derived = reader.places.get(inner, place)
        try:
            expr = parse(text)
            for path in paths(expr):
                _path(path, outline)
            unknown = [word for word in names(expr) if word not in group.axes]
        except ExpressionError as error:
            reader.complain(derived, inner, str(error))
            continue
        if unknown:
            hint = nearest(unknown[0], group.axes)
            reader.complain(derived, inner, f"{unknown[0]!r} is neither an axis nor a metric path", hint)


def _followers(reader: Converter, spec: EnsembleSpec) -> None:
    """Groups that name the directory of the job that caused their jobs need such a job."""
    followers = {group.name: index for index, group in enumerate(spec.jobs) if "{parent" in repr(group)}
    if not followers:
        return
    started = groups_that_start(spec)
    hint = "Submit {} by a rule with `trigger: job-success`."
    for name, index in followers.items():
        if name in started:
            reader.complain(
                _place(reader, f"jobs[{index}]", "command", "name"),
                f"jobs[{index}]",
                f"{name} uses {{parent}} and starts by itself, so no job causes its jobs",
                hint.format(name),
            )
    for index, rule in enumerate(spec.rules):
        without = rule.trigger in ("start", "interval") or rule.trigger.startswith("member-")
        name = rule.action.label
        if without and name in followers and traits(rule.action).submits:
            reader.complain(
                _place(reader, f"rules[{index}]", "trigger"),
                f"rules[{index}].trigger",
                f"{name} uses {{parent}}, and no job causes what this rule submits",
                hint.format(name),
            )


def check_condition(reader: Converter, place: Place, where: str, text: str, known: set[str]) -> None:
    """Note what is wrong with a `valid` condition, whose names must be among those known."""
    try:
        expr = parse(text)
    except ExpressionError as error:
        reader.complain(place, where, str(error))
        return
    found = paths(expr)
    if found:
        reader.complain(
            place, where, f"{found[0]} is a metric of the group; `valid` sees one job's figures and duration"
        )
    elif not is_condition(expr):
        reader.complain(place, where, f"{text!r} is a number, not a condition", "Compare it with a value.")
    for word in names(expr):
        if word not in known:
            reader.complain(place, where, f"{word!r} is not a figure of this group", nearest(word, sorted(known)))
            return


# ---- rules -----------------------------------------------------------------------------------------


def check_rule(
    reader: Converter, outline: Outline, rule: RuleSpec, where: str, algorithms: Collection[str] = ()
) -> None:
    """Note every problem of one rule, and of one that it adds."""
    spec, groups, members, axes = outline.spec, outline.groups, outline.members, outline.axes
    if rule.trigger.startswith("job-") and rule.name and rule.name not in groups:
        reader.complain(
            _place(reader, where, "name"),
            f"{where}.name",
            f"there is no group {rule.name!r}",
            nearest(rule.name, groups),
        )
    if rule.trigger.startswith("member-") and rule.name and rule.name not in members:
        reader.complain(
            _place(reader, where, "name"),
            f"{where}.name",
            f"there is no member {rule.name!r}",
            nearest(rule.name, members),
        )
    if rule.trigger == "interval" and not rule.seconds:
        reader.complain(_place(reader, where, "trigger"), where, "an interval needs `seconds`")
    if rule.trigger != "interval" and rule.seconds:
        reader.complain(
            _place(reader, where, "seconds"), f"{where}.seconds", f"only an interval has seconds, not {rule.trigger}"
        )
    asked = axes_of(rule, outline)
    if rule.for_each and not asked:
        reader.complain(
            _place(reader, where, "for_each"),
            f"{where}.for_each",
            "`for_each: point` needs a group with parameters that the rule waits for",
        )
    for axis in asked:
        if axis not in axes:
            hint = nearest(axis, [*axes, EACH_POINT]) if axes else "No group here has parameters."
            reader.complain(_place(reader, where, "for_each"), f"{where}.for_each", f"there is no axis {axis!r}", hint)
    if len(asked) > 1 and all(axis in axes for axis in asked) and not _together(outline, frozenset(asked)):
        reader.complain(
            _place(reader, where, "for_each"),
            f"{where}.for_each",
            f"no group has all of these axes: {', '.join(asked)}",
        )
    _condition(reader, outline, rule, where)
    traits(rule.action).problems(
        ActionCheck(
            reader,
            outline,
            f"{where}.action",
            functions=lambda: functions_in(None, spec),
            algorithm=lambda action: _algorithm(
                reader, spec, action.label, action.options, algorithms, f"{where}.action", "label"
            ),
        ),
        rule.action,
    )
    added = reader.added.get(f"{where}.action.rule")
    if added is not None:
        check_rule(reader, outline, added, f"{where}.action.rule", algorithms)


def _together(outline: Outline, axes: frozenset[str]) -> bool:
    """Whether some group has all of these axes."""
    return any(axes.issubset(entry.axes) for entries in outline.groups.values() for entry in entries)


def _condition(reader: Converter, outline: Outline, rule: RuleSpec, where: str) -> None:
    metric = rule.trigger == "metric"
    if rule.when is None and not metric:
        return
    if any(problem.where == f"{where}.when" for problem in reader.problems):
        return
    place = _place(reader, where, "when", "name")
    if metric and rule.when is None and not rule.name:
        reader.complain(
            _place(reader, where, "trigger"),
            where,
            "a metric rule needs a metric path in `name` and a condition in `when`",
        )
        return
    try:
        expr = parse_condition(rule.name if metric else "", rule.when)
    except ExpressionError as error:
        reader.complain(place, f"{where}.when", str(error))
        return
    if not is_condition(expr):
        reader.complain(place, f"{where}.when", "this is a number, not a condition", "Compare it with a value.")
        return
    bare = names(expr)
    if bare:
        reader.complain(
            place,
            f"{where}.when",
            f"{bare[0]!r} is not a metric path",
            f"A path is <statistic>.<group>.<quantity>, such as mean.{next(iter(outline.groups))}.duration.",
        )
        return
    for path in paths(expr):
        try:
            _path(path, outline)
        except ExpressionError as error:
            reader.complain(
                _place(reader, where, "name" if str(path) == rule.name else "when", "name"), where, str(error)
            )


def _path(path: MetricPath, outline: Outline) -> None:
    """Raise `ExpressionError` when a path names nothing in this file."""
    groups, members = outline.groups, outline.members
    if path.statistic in MEMBER_METRICS:
        if path.group and path.group not in members:
            raise ExpressionError(f"{path}: there is no member {path.group!r}", hint=nearest(path.group, members))
        if path.quantity not in MEMBER_METRICS[path.statistic]:
            known = MEMBER_METRICS[path.statistic]
            raise ExpressionError(
                f"{path}: {path.statistic} has no {path.quantity!r}", hint=nearest(path.quantity, known)
            )
        return
    if path.statistic != "derived" and not is_statistic(path.statistic):
        raise ExpressionError(
            f"{path}: there is no statistic {path.statistic!r}",
            hint=nearest(path.statistic, [*(one for one in STATISTICS if not one[1:].isdigit()), "derived"]),
        )
    if not path.quantity:
        path = resolve_old(path, groups, outline.figures)
    if path.group == "*":
        if path.statistic != "count" or path.quantity not in COUNTS:
            raise ExpressionError(f"{path}: over all groups there are only counts", hint=nearest(path.quantity, COUNTS))
        return
    if path.group not in groups:
        raise ExpressionError(f"{path}: there is no group {path.group!r}", hint=nearest(path.group, groups))
    own = outline.own(path.group, "derived" if path.statistic == "derived" else "outputs")
    if not is_quantity(path.statistic, path.quantity, own):
        raise ExpressionError(
            f"{path}: group {path.group} has no {path.quantity!r}",
            hint=nearest(path.quantity, quantities(path.statistic, own)),
        )
    axes = outline.own(path.group, "axes")
    for axis, _ in path.point:
        if axis not in (*axes, "*"):
            raise ExpressionError(f"{path}: group {path.group} has no axis {axis!r}", hint=nearest(axis, axes))


def functions_in(reader: Converter | None, spec: EnsembleSpec) -> list[str] | None:
    """Names of the functions of `custom`; None (and a problem) when it cannot be read or is not Python."""
    source = spec.custom
    where = "custom"
    place = reader.places.get("custom", Place()) if reader is not None else Place()
    if source.rstrip().endswith(".py") and "\n" not in source.strip():
        path = os.path.join(spec.directory, source.strip())
        try:
            source = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if reader is not None:
                reader.complain(place, where, f"{spec.custom}: {getattr(error, 'strerror', None) or error}")
            return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if reader is not None:
            line = f" in its line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            what = error.msg if isinstance(error, SyntaxError) else str(error)
            reader.complain(place, where, f"this is not Python{line}: {what}")
        return None
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.append(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign):
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return found
