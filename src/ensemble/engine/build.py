"""From the checked file to the engine's objects: groups, points, slices of points, members, rules and their index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import convert

from ensemble.engine.algorithm import Algorithm
from ensemble.engine.resolve import Resolver
from ensemble.engine.rules import Rule, Thresholds, Watch, park, unpark
from ensemble.engine.state import Binding, Cell, Group, Job, Member, Point, State
from ensemble.metrics import Series
from ensemble.model.errors import InputError
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec, Scalar
from ensemble.spec.expressions import Expr, Formula, compile_expr, parse, parse_condition, paths, threshold
from ensemble.spec.model import EnsembleSpec, GroupSpec, MemberSpec, RuleSpec
from ensemble.spec.placeholders import compile_template
from ensemble.spec.render import Renderer
from ensemble.spec.starting import groups_that_start

_SPACING: Final = 1_000_000
"""Room in the order of rules for the instances of one `for_each` rule."""


class Builder:
    """Makes what the state consists of, and knows what the file says about it."""

    def __init__(self, spec: EnsembleSpec, state: State, algorithms: Mapping[str, Algorithm]) -> None:
        self.spec = spec
        self.state = state
        self.algorithms = algorithms
        self.algorithm_options: dict[str, Any] = {}
        self.switches = 0
        self.added: list[tuple[str, dict[str, Any], str]] = []
        """Rules that joined while the run was going: id, rule, owner."""
        self.budgeted = bool(spec.limits.node_hours or spec.limits.cost)
        self.templates: dict[str, list[GroupSpec]] = {}
        for group in spec.jobs:
            self.templates.setdefault(group.name, []).append(group)
        self.resolver = Resolver(state, self)
        self.starting = groups_that_start(spec)
        self.begin("", "")
        self._valid: dict[tuple[str, int], Formula] = {}
        self._conditional: dict[tuple[str, int], bool] = {}
        self._templates_each: list[tuple[str, RuleSpec, str, int]] = []
        self._next_order = 0
        self._members()
        self._groups()
        state.seed = spec.seed
        for index, rule in enumerate(spec.rules, 1):
            self._rule(rule.id or f"rule-{index}", rule, "")
        self.index_triggers()

    def begin(self, run: str, run_dir: str) -> None:
        """The run's name and directory are known now."""
        self.renderer = Renderer(self.spec, run, run_dir)

    # ---- members -----------------------------------------------------------------------------------

    def _members(self) -> None:
        members = self.spec.members or {"local": MemberSpec()}
        for name, spec in members.items():
            member = Member(name, spec.kind)
            member.price = spec.price
            member.min_nodes = spec.min_nodes
            member.max_nodes = spec.max_nodes
            self.state.members[name] = member

    def nodes_of(self, point: Point, member: Member) -> float:
        """Nodes that a job of this point takes of a member; a part of one where it asks only for cores."""
        if point.nodes:
            return float(point.nodes)
        return point.cores / member.cores_per_node if member.cores_per_node else 1.0

    def can_hold(self, point: Point, member: Member) -> bool:
        """Whether a job of this point could ever run there, as far as the member has told its size."""
        per_node = member.cores_per_node
        if member.nodes_up < 0 or not per_node:
            return True
        most = max(member.nodes_up, member.max_nodes)
        return point.nodes <= most and point.cores <= most * per_node

    # ---- groups and points -------------------------------------------------------------------------

    def _groups(self) -> None:
        for name, templates in self.templates.items():
            axes = tuple(dict.fromkeys(axis for template in templates for axis in template.axes))
            group = Group(name, axes)
            group.max_running = max((template.max_running for template in templates), default=0)
            self.state.groups[name] = group
            for index, template in enumerate(templates):
                for values in template.points:
                    self._point(group, index, dict(values))

    def template(self, point: Point) -> GroupSpec:
        """The entry of the file that a point belongs to."""
        return self.templates[point.group.name][point.template]

    def template_for(self, group: Group, values: Mapping[str, Scalar]) -> int:
        """The first entry of the group with just these axes, else the first."""
        for index, template in enumerate(self.templates[group.name]):
            if set(template.axes) == set(values):
                return index
        return 0

    def find_point(self, group: Group, values: Mapping[str, Scalar]) -> Point | None:
        """The point with these values, if there is one."""
        binding = self._binding(group, values)
        for point in group.points:
            if len(point.values) == len(binding) and tuple(point.values.items()) == binding:
                return point
        return None

    def _binding(self, group: Group, values: Mapping[str, Scalar]) -> Binding:
        known = [(axis, values[axis]) for axis in group.axes if axis in values]
        return tuple(known + [(axis, value) for axis, value in values.items() if axis not in group.axes])

    def problem_with(self, group: Group, values: Mapping[str, Scalar]) -> str:
        """Why no job can be made of these values; empty when one can."""
        template = self.template_for(group, values)
        axes = self.templates[group.name][template].axes
        if set(values) != set(axes):
            return f"a point needs {', '.join(axes) or 'no axes'}, not {', '.join(values) or 'none'}"
        try:
            self.renderer.render(group.name, template, dict(values), f"{group.name}-0", 1)
        except InputError as error:
            return str(error)
        return ""

    def add_point(self, group: Group, template: int, values: Mapping[str, Scalar]) -> Point:
        """A point that came up while the run was going; rules `for_each` value get their instance."""
        point = self._point(group, template, dict(self._binding(group, values)))
        for rule_id, rule, owner, order in self._templates_each:
            if rule.for_each in point.values:
                self._instances(rule_id, rule, owner, order)
        self.index_triggers()
        return point

    def _point(self, group: Group, template: int, values: dict[str, Scalar]) -> Point:
        point = Point(group, len(group.points), template, values)
        spec = self.templates[group.name][template]
        sample = self.renderer.render(group.name, template, values, f"{group.name}-0", 1)
        resources = sample.resources
        point.nodes = resources.nodes
        point.cores = resources.total_cores
        point.walltime = sample.walltime
        point.member = compile_template(spec.member, tuple(values)).fill(values) if spec.member else ""
        group.points.append(point)
        own: Binding = tuple(values.items())
        if own and own not in group.cells:
            group.cells[own] = Cell(group.name, own)
        cells = [cell for binding, cell in group.cells.items() if _within(binding, values)]
        point.cells = (*cells, self.state.total)
        return point

    def cell(self, group: Group, binding: Binding) -> Cell:
        """The cell of a slice of the group's points; made, from what its points have seen, when first asked for."""
        found = group.cells.get(binding)
        if found is not None:
            return found
        cell = group.cells[binding] = Cell(group.name, binding)
        for point in group.points:
            if _within(binding, point.values):
                _absorb(cell, group.cells[tuple(point.values.items())])
                point.cells = (*point.cells[:-1], cell, point.cells[-1])
        return cell

    def conditional(self, point: Point) -> bool:
        """Whether a job that ended well may still be found to have failed (`valid`, required outputs)."""
        key = (point.group.name, point.template)
        known = self._conditional.get(key)
        if known is None:
            spec = self.template(point)
            known = bool(spec.valid) or any(output.required for output in spec.outputs.values())
            self._conditional[key] = known
        return known

    def verdict(self, job: Job, event: JobEvent) -> str:
        """The reason for which a job that ended with exit code 0 has failed all the same; empty: none."""
        spec = self.template(job.point)
        if any(name in spec.outputs and spec.outputs[name].required for name in event.missing):
            return "outputs"
        if not spec.valid:
            return ""
        key = (job.group.name, job.point.template)
        if key not in self._valid:
            self._valid[key] = Formula(parse(spec.valid))
        values: dict[str, Scalar | None] = dict(job.point.values)
        values.update(event.figures or {})
        values["duration"] = max(0.0, (job.ended or event.time) - job.run_time)
        values["exit_code"] = float(event.exit_code)
        values["attempt"] = float(job.attempt)
        return "" if self._valid[key].value(values) is True else "valid"

    def job_spec(self, group: Group, point: Point, number: int, attempt: int, avoid: tuple[str, ...]) -> JobSpec:
        """The full description of one attempt."""
        key = f"{group.name}-{number}"
        return self.renderer.render(group.name, point.template, point.values, key, attempt, avoid=avoid)

    # ---- rules -------------------------------------------------------------------------------------

    def add_rule(self, rule_id: str, rule: dict[str, Any], owner: str) -> list[Rule]:
        """A rule that joins while the run is going."""
        self.added.append((rule_id, rule, owner))
        made = self._rule(rule_id, convert(rule, RuleSpec), owner)
        self.index_triggers()
        return made

    def _rule(self, rule_id: str, rule: RuleSpec, owner: str) -> list[Rule]:
        self._next_order += _SPACING
        if rule.for_each:
            self._templates_each.append((rule_id, rule, owner, self._next_order))
            return self._instances(rule_id, rule, owner, self._next_order)
        return [self._instance(rule_id, self._next_order, rule, {}, owner)]

    def _instances(self, rule_id: str, rule: RuleSpec, owner: str, order: int) -> list[Rule]:
        values: dict[Scalar, None] = {}
        for group in self.state.groups.values():
            for point in group.points:
                if rule.for_each in point.values:
                    values[point.values[rule.for_each]] = None
        made = []
        for index, value in enumerate(values):
            instance = f"{rule_id}[{rule.for_each}={value}]"
            if instance not in self.state.rules:
                made.append(self._instance(instance, order + index, rule, {rule.for_each: value}, owner))
        return made

    def _instance(self, rule_id: str, order: int, spec: RuleSpec, binding: dict[str, Scalar], owner: str) -> Rule:
        rule = Rule(rule_id, order, spec, binding, owner)
        self.state.rules[rule_id] = rule
        if spec.trigger == "metric" or spec.when is not None:
            self._condition(rule, parse_condition(spec.name if spec.trigger == "metric" else "", spec.when))
        if spec.trigger == "metric":
            unpark(rule)
        return rule

    def _condition(self, rule: Rule, expr: Expr) -> None:
        """Compile the condition, and find where in the index the rule stands."""
        readers = []
        sources: dict[int, tuple[Watch, str]] = {}
        single = threshold(expr) if rule.trigger == "metric" else None
        for path in paths(expr):
            text, read, homes = self.resolver.value(path, rule.binding)
            readers.append((text, read))
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
        rule.condition = compile_expr(expr, lambda path: self.resolver.value(path, rule.binding)[1], None)
        rule.homes = list(sources.values())

    def index_triggers(self) -> None:
        """Rebuild, for each group, the lists of rules that its jobs' events wake."""
        for group in self.state.groups.values():
            group.on = {}
        for rule in self.state.rules.values():
            if rule.removed or not rule.trigger.startswith("job-"):
                continue
            names: Iterable[str] = [rule.spec.name] if rule.spec.name else self.state.groups
            for name in names:
                if name in self.state.groups:
                    self.state.groups[name].on.setdefault(rule.trigger, []).append(rule)

    def idle_rules(self) -> list[Rule]:
        """Rules that wait for quiet."""
        return [rule for rule in self.state.rules.values() if rule.trigger == "idle" and rule.considered]

    def drop(self, rule: Rule) -> None:
        """A rule leaves the set."""
        park(rule)
        rule.removed = True


_SIDES: Final = {">=": ("above", 0), ">": ("above", 1), "<": ("below", 0), "<=": ("below", 1)}


def _within(binding: Binding, values: Mapping[str, Scalar]) -> bool:
    return all(axis in values and values[axis] == value for axis, value in binding)


def _absorb(cell: Cell, other: Cell) -> None:
    """Add what one point has seen to the cell of a slice."""
    cell.submitted += other.submitted
    cell.pending += other.pending
    cell.running += other.running
    cell.success += other.success
    cell.failed += other.failed
    cell.cancelled += other.cancelled
    cell.lost += other.lost
    cell.failed_attempts += other.failed_attempts
    for name, series in other.series.items():
        copy = Series.from_state(series.state())
        cell.quantity(name).merge(copy)
    cell.waits.finished.merge(Series.from_state(other.waits.finished.state()))
    for time, count in other.waits.waiting.entries():
        cell.waits.enter(time, count)
