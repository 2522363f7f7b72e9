"""From the checked file to the engine's objects: groups, points, slices of points, members, rules and their index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import convert

from ensemble.engine.plan import Plan
from ensemble.engine.resolve import Resolver
from ensemble.engine.rules import Each, Listeners, Rule, Thresholds, Watch, park, unpark
from ensemble.engine.state import Binding, Cell, Group, Job, Member, Point, Shape, State
from ensemble.metrics import Series
from ensemble.model.decisions import MemberSize
from ensemble.model.errors import InputError
from ensemble.model.jobs import STORED_COUNTS, JobSpec, Scalar
from ensemble.spec.expressions import Expr, compile_expr, parse_condition, paths, threshold
from ensemble.spec.model import MemberSpec, RuleSpec
from ensemble.spec.placeholders import compile_template
from ensemble.spec.render import Renderer
from ensemble.spec.starting import axes_of

_SPACING: Final = 1_000_000
"""Room in the order of rules for the instances of one `for_each` rule."""


class Builder:
    """Makes the parts of a state from a plan: at the start, and those that come up while the run goes on."""

    __slots__ = ("plan", "resolver", "state")

    def __init__(self, plan: Plan, state: State) -> None:
        self.plan = plan
        self.state = state
        self.resolver = Resolver(state, self)
        self._members()
        self._groups()
        state.seed = plan.spec.seed
        state.limits = plan.spec.limits
        for index, rule in enumerate(plan.spec.rules, 1):
            self._rule(rule.id or f"rule-{index}", rule, "")
        self.index_triggers()

    @property
    def renderer(self) -> Renderer:
        """What describes the jobs of the run."""
        return self.plan.renderer(self.state.run, self.state.run_dir)

    # ---- members -----------------------------------------------------------------------------------

    def _members(self) -> None:
        for name, spec in (self.plan.spec.members or {"local": MemberSpec()}).items():
            member = Member(name, spec.kind)
            member.price = spec.price
            member.sizes = self.first_sizes(name)
            self.state.members[name] = member

    def first_sizes(self, name: str) -> MemberSize:
        """The nodes of a member and their bounds as the run began."""
        spec = self.plan.spec.members.get(name) or MemberSpec()
        return MemberSize(name, spec.nodes, spec.min_nodes, spec.max_nodes)

    # ---- groups and points -------------------------------------------------------------------------

    def _groups(self) -> None:
        for name, templates in self.plan.templates.items():
            axes = tuple(dict.fromkeys(axis for template in templates for axis in template.axes))
            group = Group(name, axes)
            group.max_running = max((template.max_running for template in templates), default=0)
            self.state.groups[name] = group
            for index, template in enumerate(templates):
                for values in template.points:
                    self._point(group, index, dict(values))

    def find_points(self, group: Group, values: Mapping[str, Scalar]) -> Sequence[Point]:
        """The points with these values: one for each entry of the group that has them."""
        return group.by_values.get(self.binding(group, values), ())

    def points_within(self, group: Group, binding: Mapping[str, Scalar]) -> Sequence[Point]:
        """The points that have the values of a `for_each` rule; a point without one of its axes has any value of it."""
        axes = tuple(axis for axis in group.axes if axis in binding)
        if not axes:
            return group.points
        if any(axis not in template.axes for template in self.plan.templates[group.name] for axis in axes):
            return [point for point in group.points if all(point.values.get(a, binding[a]) == binding[a] for a in axes)]
        if len(axes) == 1:
            return group.by_value.get((axes[0], binding[axes[0]]), ())
        index = group.within.get(axes)
        if index is None:
            index = group.within[axes] = {}
            for point in group.points:
                index.setdefault(tuple(point.values[axis] for axis in axes), []).append(point)
        return index.get(tuple(binding[axis] for axis in axes), ())

    def binding(self, group: Group, values: Mapping[str, Scalar]) -> Binding:
        """These values in the order of the group's axes: what names a point."""
        known = [(axis, values[axis]) for axis in group.axes if axis in values]
        return tuple(known + [(axis, value) for axis, value in values.items() if axis not in group.axes])

    def problem_with(self, group: Group, values: Mapping[str, Scalar]) -> str:
        """Why no job can be made of these values; empty when one can."""
        template = self.plan.template_for(group, values)
        axes = self.plan.templates[group.name][template].axes
        if set(values) != set(axes):
            return f"a point needs {', '.join(axes) or 'no axes'}, not {', '.join(values) or 'none'}"
        try:
            self.renderer.render(group.name, template, dict(values), f"{group.name}-0", 1)
        except InputError as error:
            return str(error)
        return ""

    def add_point(self, group: Group, template: int, values: Mapping[str, Scalar]) -> Point:
        """A point that came up while the run was going; `for_each` rules get an instance for its values."""
        point = self._point(group, template, dict(self.binding(group, values)))
        for each in self.state.each:
            if each.axes and not each.removed and all(axis in point.values for axis in each.axes):
                for rule in self._instances(each, [tuple(point.values[axis] for axis in each.axes)]):
                    self._listen(rule)
        return point

    def _point(self, group: Group, template: int, values: dict[str, Scalar]) -> Point:
        point = Point(group, len(group.points), template, values)
        spec = self.plan.templates[group.name][template]
        sample = self.renderer.render(group.name, template, values, f"{group.name}-0", 1)
        resources = sample.resources
        point.nodes = resources.nodes
        point.cores = resources.total_cores
        point.walltime = sample.walltime
        point.conditional = bool(spec.valid) or any(output.required for output in spec.outputs.values())
        point.member = compile_template(spec.member, tuple(values)).fill(values) if spec.member else ""
        point.shape = Shape(point.member, resources)
        group.shapes.setdefault(point.shape, []).append(point.index)
        self._own_cell(group, tuple(values.items()))
        group.points.append(point)
        group.by_values.setdefault(self.binding(group, values), []).append(point)
        for axes, index in group.within.items():
            if all(axis in values for axis in axes):
                index.setdefault(tuple(values[axis] for axis in axes), []).append(point)
        for pair in values.items():
            group.by_value.setdefault(pair, []).append(point)
        self._join(group, point)
        return point

    def _own_cell(self, group: Group, own: Binding) -> None:
        """Make the cell of a point. Where another entry has more axes, earlier points of that lie within it."""
        if own in group.cells:
            return
        axes = {axis for axis, _ in own}
        wider = any(axes < set(template.axes) for template in self.plan.templates[group.name])
        group.slices[tuple(axis for axis, _ in own)] = None
        group.cells[own] = self.read_cell(group, own) if wider else Cell(group.name, own)
        for point in self._points_in(group, own) if wider else ():
            self._join(group, point)

    def _join(self, group: Group, point: Point) -> None:
        """Let a point count into every cell that it lies within."""
        cells = []
        for axes in group.slices:
            if all(axis in point.values for axis in axes):
                cell = group.cells.get(tuple((axis, point.values[axis]) for axis in axes))
                if cell is not None:
                    cells.append(cell)
        point.measured = tuple(cells)
        point.cells = (*cells, self.state.total)

    def cell(self, group: Group, binding: Binding) -> Cell:
        """The cell of a slice of the group's points; made, from what its points have seen, when first asked for."""
        found = group.cells.get(binding)
        if found is not None:
            return found
        cell = group.cells[binding] = self.read_cell(group, binding)
        group.slices[tuple(axis for axis, _ in binding)] = None
        for point in self._points_in(group, binding):
            self._join(group, point)
        return cell

    def read_cell(self, group: Group, binding: Binding) -> Cell:
        """The cell of a slice as it is now, to be read once: nothing is added to the state."""
        found = group.cells.get(binding)
        if found is not None:
            return found
        cell = Cell(group.name, binding)
        own = dict.fromkeys(tuple(point.values.items()) for point in self._points_in(group, binding))
        for values in own:
            _absorb(cell, group.cells[values])
        return cell

    def _points_in(self, group: Group, binding: Binding) -> list[Point]:
        some = group.by_value.get(binding[0], []) if binding else group.points
        return [point for point in some if _within(binding, point.values)]

    def job_spec(self, group: Group, point: Point, number: int, attempt: int, avoid: tuple[str, ...]) -> JobSpec:
        """The full description of one attempt."""
        key = f"{group.name}-{number}"
        parent = group.parents.get(number, "")
        return self.renderer.render(group.name, point.template, point.values, key, attempt, avoid, parent)

    def follows_parent(self, group: Group) -> bool:
        """Whether a text of the group names the directory of the job that caused its jobs."""
        return any(
            self.renderer.uses(group.name, index, "parent") for index in range(len(self.plan.templates[group.name]))
        )

    def directory_of(self, job: Job) -> str:
        """The directory of a job, relative to that of the run where it is inside it."""
        spec = self.job_spec(job.group, job.point, job.number, job.attempt, ())
        return spec.workdir.removeprefix(f"{self.renderer.run_dir}/")

    # ---- rules -------------------------------------------------------------------------------------

    def add_rule(self, rule_id: str, rule: dict[str, Any], owner: str) -> list[Rule]:
        """A rule that joins while the run is going."""
        self.state.added.append((rule_id, rule, owner))
        made = self._rule(rule_id, convert(rule, RuleSpec), owner)
        self.index_triggers()
        return made

    def remove_rules(self, ids: set[str]) -> None:
        """Take rules away, by their ids or by that of a `for_each` rule. Their places stay: what they did is known."""
        for each in self.state.each:
            each.removed = each.removed or each.id in ids
        for rule in self.state.rules.values():
            if rule.id in ids or rule.template in ids:
                park(rule)
                rule.removed = True
        self.index_triggers()

    def _rule(self, rule_id: str, rule: RuleSpec, owner: str) -> list[Rule]:
        self.state.rule_order += _SPACING
        self.state.rule_ids[rule_id] = None
        if not rule.for_each:
            return [self._instance(rule_id, self.state.rule_order, rule, {}, owner)]
        axes = axes_of(rule, self.plan.outline)
        each = Each(rule_id, rule, owner, self.state.rule_order, axes)
        self.state.each.append(each)
        values = dict.fromkeys(
            tuple(point.values[axis] for axis in axes)
            for group in self.state.groups.values()
            for point in group.points
            if axes and all(axis in point.values for axis in axes)
        )
        return self._instances(each, values)

    def _instances(self, each: Each, values: Iterable[tuple[Scalar, ...]]) -> list[Rule]:
        """The rules of a `for_each` rule for those values that have none, each ordered after the earlier ones."""
        made = []
        for one in values:
            binding = dict(zip(each.axes, one, strict=True))
            instance = f"{each.id}[{','.join(f'{axis}={value}' for axis, value in binding.items())}]"
            if instance not in self.state.rules:
                order = each.order + each.made
                each.made += 1
                made.append(self._instance(instance, order, each.rule, binding, each.owner))
                made[-1].template = each.id
        return made

    def in_order(self, ids: Iterable[str]) -> None:
        """Put the rules into the order in which they came to be in the run that a snapshot is of."""
        rules = self.state.rules
        ordered = {rule_id: rules[rule_id] for rule_id in ids}
        for each in self.state.each:
            mine = [rule for rule in ordered.values() if rule.template == each.id]
            for index, rule in enumerate(mine):
                park(rule)
                rule.order = each.order + index
        rules.clear()
        rules.update(ordered)

    def _instance(self, rule_id: str, order: int, spec: RuleSpec, binding: dict[str, Scalar], owner: str) -> Rule:
        rule = Rule(rule_id, order, spec, binding, owner)
        self.state.rules[rule_id] = rule
        if spec.trigger == "metric" or spec.when is not None:
            self._condition(rule, parse_condition(spec.name if spec.trigger == "metric" else "", spec.when))
        if spec.trigger == "metric":
            unpark(rule)
        return rule

    def _condition(self, rule: Rule, expr: Expr) -> None:
        """Compile the condition, and find where in the index the rule belongs."""
        readers = []
        sources: dict[int, tuple[Watch, str]] = {}
        single = threshold(expr)
        for path in paths(expr):
            text, read, homes = self.resolver.value(path, rule.binding, watched=True)
            readers.append((text, read))
            if rule.trigger != "metric":
                continue
            for holder, field in homes:
                if holder.watch is None:
                    holder.watch = {}
                watch = holder.watch.setdefault(field, Watch())
                sources.setdefault(id(watch), (watch, ""))
                if single is not None and single[1] in _SIDES and len(homes) == 1:
                    side, rank = _SIDES[single[1]]
                    rule.key = (side, single[2], rank)
                    watch.thresholds.setdefault(text, Thresholds(read))
                    sources[id(watch)] = (watch, text)
        rule.readers = tuple(readers)
        rule.condition = compile_expr(expr, lambda path: self.resolver.value(path, rule.binding, watched=True)[1], None)
        rule.homes = list(sources.values())

    def index_triggers(self) -> None:
        """Find anew, for each group, the rules that its jobs' events wake."""
        for group in self.state.groups.values():
            group.on = {}
        for rule in self.state.rules.values():
            self._listen(rule)

    def _listen(self, rule: Rule) -> None:
        """Let the events of jobs wake a rule that waits for them."""
        if rule.removed or not rule.trigger.startswith("job-"):
            return
        for name in [rule.spec.name] if rule.spec.name else list(self.state.groups):
            if name in self.state.groups:
                self.state.groups[name].on.setdefault(rule.trigger, Listeners()).add(rule)

    def idle_rules(self) -> list[Rule]:
        """Rules that wait for quiet."""
        return [rule for rule in self.state.rules.values() if rule.trigger == "idle" and rule.considered]


_SIDES: Final = {">=": ("above", 0), ">": ("above", 1), "<": ("below", 0), "<=": ("below", 1)}


def _within(binding: Binding, values: Mapping[str, Scalar]) -> bool:
    return all(axis in values and values[axis] == value for axis, value in binding)


def _absorb(cell: Cell, other: Cell) -> None:
    """Add what one point has seen to the cell of a slice."""
    for name in STORED_COUNTS:
        setattr(cell, name, getattr(cell, name) + getattr(other, name))
    for name, series in other.series.items():
        copy = Series.from_state(series.state())
        cell.quantity(name).merge(copy)
    cell.waits.finished.merge(Series.from_state(other.waits.finished.state()))
    for time, count in other.waits.waiting.entries():
        cell.waits.enter(time, count)
