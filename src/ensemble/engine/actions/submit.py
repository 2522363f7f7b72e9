"""The action `submit`: more jobs of a group, of its points or of new ones."""

from __future__ import annotations

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.engine.state import Group
from ensemble.model.decisions import Create, Effect, Note
from ensemble.model.jobs import Scalar
from ensemble.spec.actions import ActionCheck, register_action
from ensemble.spec.convert import nearest
from ensemble.spec.model import ActionSpec


def _check(check: ActionCheck, action: ActionSpec) -> None:
    check.whole(action, "jobs")
    if not action.label:
        check.complain("submit needs the group in `label`", hint=nearest("", check.groups))
    elif check.group(action.label) and action.points:
        axes = {tuple(group.axes) for group in check.spec.jobs if group.name == action.label}
        given = tuple(action.points[0])
        if not any(set(given) == set(known) for known in axes):
            known = ", ".join(next(iter(axes))) or "no axes"
            check.complain(
                f"a point of {action.label} has {known}, not {', '.join(given)}",
                "parameters",
            )


def _submit(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    name = action.label or cause.group
    group = context.state.groups.get(name)
    if group is None:
        return [Note("unknown-group", f"submit names {name!r}, which is not a group")]
    count = None if action.value is None else int(action.value)
    builder = context.builder
    binding, parent = cause.binding, ""
    if builder.follows_parent(group):
        if cause.job is None:
            return [Note("no-parent", f"{name} uses {{parent}}, and no job caused this submission")]
        parent = builder.directory_of(cause.job)
        # what goes on from a job's directory goes on with its parameters
        binding = {**{axis: value for axis, value in cause.job.point.values.items() if axis in group.axes}, **binding}
    effects: list[Effect] = []
    if action.points:
        for values in action.points:
            effects += _submit_values(context, group, dict(values), count, parent)
        return effects
    points = builder.points_within(group, binding)
    if not points and parent and set(group.axes) <= set(binding):
        return _submit_values(context, group, {axis: binding[axis] for axis in group.axes}, count, parent)
    for point in points:
        effects += context.create(group, point.index, builder.plan.template(point).count, count, parent=parent)
    return effects


def _submit_values(
    context: Context, group: Group, values: dict[str, Scalar], count: int | None, parent: str
) -> list[Effect]:
    """Jobs of the point with these values, which is made when there is none."""
    builder = context.builder
    known = builder.find_points(group, values)
    if known:
        effects: list[Effect] = []
        for point in known:
            effects += context.create(group, point.index, builder.plan.template(point).count, count, parent=parent)
        return effects
    template = builder.plan.template_for(group, values)
    usual = builder.plan.templates[group.name][template].count
    new = context.points.setdefault(group.name, {})
    binding = builder.binding(group, values)
    if binding in new:
        return context.create(group, new[binding], usual, count, parent=parent)
    problem = builder.problem_with(group, values)
    if problem:
        return [Note("bad-point", f"{group.name}: {problem}")]
    effects = context.create(group, len(group.points) + len(new), usual, count, values, template, parent)
    if effects and isinstance(effects[0], Create):
        new[binding] = effects[0].span.point
    return effects


register_action(
    Action(
        name="submit",
        meaning="Submit jobs of group `label`: `value` for each point (by default its `count`), or jobs for the new "
        "points of `parameters`.",
        keys=("label", "value", "parameters"),
        submits=True,
        check=_check,
        effects=_submit,
    )
)
