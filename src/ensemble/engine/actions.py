"""From an action of the file to effects: what exactly a rule that fires asks for, here and now."""

from __future__ import annotations

import re
from random import Random
from typing import Any, Final

from msgspec import to_builtins

from ensemble.engine.build import Builder
from ensemble.engine.rules import Rule
from ensemble.engine.sizes import resizing
from ensemble.engine.state import NEW, RUN, Binding, Group, Point, State
from ensemble.engine.view import StateView, metrics_for_function
from ensemble.model.decisions import (
    AddRule,
    Avoid,
    Call,
    Cancel,
    Create,
    Discard,
    Drain,
    Effect,
    Note,
    Remember,
    Resize,
    Span,
    StopMember,
    SwitchAlgorithm,
)
from ensemble.model.errors import InputError
from ensemble.model.events import Event, JobEvent
from ensemble.model.jobs import Scalar
from ensemble.spec.model import ActionSpec

CANCEL_GRACE = 10.0
"""Seconds between the polite signal and the last one."""

_HOSTS: Final = re.compile(r"(?:[^,\[]|\[[^\]]*\])+")
"""Each item of a list of hosts; a comma in brackets (`node[0-2,5]`) parts none."""


class Actions:
    """Works out effects. Reads the state, never changes it.

    `fresh` is the number of the next command and `numbers` the next job number of each group that the
    present list of effects already uses, so that several effects of one step do not collide.
    """

    __slots__ = ("_command", "_created", "_ids", "_numbers", "_points", "builder", "state")

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder
        self.begin()

    def begin(self) -> None:
        """Start a new step."""
        self._command = self.state.next_command
        self._numbers: dict[str, int] = {}
        self._points: dict[str, dict[Binding, int]] = {}
        self._ids: dict[str, None] = {}
        self._created = 0

    def command(self) -> int:
        """The next command's number."""
        number = self._command
        self._command += 1
        return number

    def effects(
        self, action: ActionSpec, event: Event, rule: Rule | None = None, random: Random | None = None
    ) -> list[Effect]:
        """What `action` comes to. `rule` is the rule that fired (its binding narrows groups to points)."""
        name = action.name
        if self.state.draining and name in ("submit", "grow", "custom", "algorithm", "add-rule", "switch-algorithm"):
            return []
        if name == "submit":
            return self._submit(action, event, rule)
        if name == "cancel":
            return self._cancel(action, event, rule)
        if name in ("grow", "shrink", "scale"):
            return self._resize(action)
        if name == "avoid":
            return self._avoid(action, event)
        if name == "stop":
            return self.drain("stop")
        if name == "terminate":
            return [Drain("terminate"), *self.cancel_all("terminate")]
        if name == "stop-member":
            return self._stop_member(action)
        if name == "custom":
            return [self._call(action, event, rule)]
        if name == "add-rule":
            return [self.add_rule(action.rule, rule)] if action.rule else [Note("bad-rule", "add-rule names no rule")]
        if name == "switch-algorithm":
            return self.switch(action.label, action.options)
        if name == "algorithm":
            return self._algorithm(action, event, rule, random or Random(0))
        return [Note("unsupported-action", f"no member here can do {name!r}")]

    # ---- jobs --------------------------------------------------------------------------------------

    def _submit(self, action: ActionSpec, event: Event, rule: Rule | None) -> list[Effect]:
        name = action.label or self._group_of(event)
        group = self.state.groups.get(name)
        if group is None:
            return [Note("unknown-group", f"submit names {name!r}, which is no group")]
        count = None if action.value is None else int(action.value)
        effects: list[Effect] = []
        if action.points:
            for values in action.points:
                effects += self._create_values(group, dict(values), count)
        else:
            binding = rule.binding if rule is not None else {}
            for point in self.builder.points_within(group, binding):
                effects += self._create(group, point.index, self.builder.template(point).count, count, None, 0)
        return effects

    def _create_values(self, group: Group, values: dict[str, Scalar], count: int | None) -> list[Effect]:
        effects: list[Effect] = []
        for point in self.builder.find_points(group, values):
            effects += self._create(group, point.index, self.builder.template(point).count, count, None, 0)
        if effects or self.builder.find_points(group, values):
            return effects
        template = self.builder.template_for(group, values)
        usual = self.builder.templates[group.name][template].count
        new = self._points.setdefault(group.name, {})
        binding = self.builder.binding(group, values)
        if binding in new:
            return self._create(group, new[binding], usual, count, None, 0)
        problem = self.builder.problem_with(group, values)
        if problem:
            return [Note("bad-point", f"{group.name}: {problem}")]
        effects = self._create(group, len(group.points) + len(new), usual, count, values, template)
        if effects and isinstance(effects[0], Create):
            new[binding] = effects[0].span.point
        return effects

    def _create(
        self,
        group: Group,
        point: int,
        usual: int,
        count: int | None,
        values: dict[str, Scalar] | None,
        template: int,
    ) -> list[Effect]:
        wanted = usual if count is None else count
        limit = self.builder.spec.limits.jobs
        effects: list[Effect] = []
        if limit:
            left = limit - self.state.total.submitted - self._created
            if wanted > left:
                wanted = max(0, left)
                effects.append(Note("limit", f"limits.jobs: {limit} jobs"))
                if not self.state.draining:
                    effects.append(Drain("limit", limit="jobs", drop=False))
        if wanted > 0:
            first = self._numbers.get(group.name, group.created)
            self._numbers[group.name] = first + wanted
            self._created += wanted
            effects.insert(0, Create(Span(group.name, point, first, wanted), values, template))
        return effects

    def start(self, names: tuple[str, ...]) -> list[Effect]:
        """The jobs of groups that start by themselves."""
        effects: list[Effect] = []
        for name in names:
            group = self.state.groups[name]
            for point in group.points:
                effects += self._create(group, point.index, self.builder.template(point).count, None, None, 0)
        return effects

    def _cancel(self, action: ActionSpec, event: Event, rule: Rule | None) -> list[Effect]:
        state = self.state
        if not action.label and isinstance(event, JobEvent):
            job = state.jobs.get(event.key)
            return self.cancel_keys([event.key], "rule") if job is not None else []
        name = action.label
        states = frozenset(action.states)
        binding = rule.binding if rule is not None else {}
        effects: list[Effect] = []
        group = state.groups.get(name)
        if group is None:
            return [Note("unknown-group", f"cancel names {name!r}, which is no group")]

        def concerns(point: Point) -> bool:
            return all(point.values.get(axis, value) == value for axis, value in binding.items())

        if not states or states & {"new", "pending"}:
            points = [point.index for point in group.points if concerns(point)]
            whole = len(points) == len(group.points)
            if group.waiting:
                effects += [Discard(name)] if whole else [Discard(name, index) for index in points]
        keys = [
            job.key
            for job in state.jobs.values()
            if job.group is group and concerns(job.point) and not job.cancelling and _in_states(job.code, states)
        ]
        return effects + self.cancel_keys(keys, "rule")

    def cancel_keys(self, keys: list[str], reason: str) -> list[Effect]:
        """One cancel command per member for these jobs."""
        by_member: dict[str, list[tuple[str, int]]] = {}
        for key in keys:
            job = self.state.jobs.get(key)
            if job is not None:
                by_member.setdefault(job.member, []).append((key, job.attempt))
            else:
                # it waits here, where no member knows it
                by_member.setdefault("", []).append((key, 1))
        return [Cancel(self.command(), member, tuple(refs), CANCEL_GRACE, reason) for member, refs in by_member.items()]

    def drain(self, reason: str, limit: str = "") -> list[Effect]:
        """Nothing new starts: what waits here is dropped, what waits in a queue is cancelled, what runs goes on."""
        queued = [job.key for job in self.state.jobs.values() if NEW < job.code < RUN and not job.cancelling]
        cancels = self.cancel_keys(queued, reason)
        # what is already being ended keeps the reason it is ended for
        return cancels if self.state.dropped else [Drain(reason, limit), *cancels]

    def cancel_all(self, reason: str) -> list[Effect]:
        """Everything that is with a member."""
        keys = [job.key for job in self.state.jobs.values() if job.code != NEW and not job.cancelling]
        return self.cancel_keys(keys, reason)

    # ---- members -----------------------------------------------------------------------------------

    def _only_member(self) -> str:
        return next(iter(self.state.members))

    def _resize(self, action: ActionSpec) -> list[Effect]:
        name = action.member or self._resizable()
        member = self.state.members.get(name)
        if member is None:
            return [Note("unknown-member", f"{action.name} names {name!r}, which is no member")]
        if member.state in ("closed", "gone"):
            return [Note("member-closed", f"{action.name}: member {name} is {member.state}")]
        if member.opened and "resize" not in member.capabilities:
            return [Note("unsupported-action", f"member {name} cannot {action.name}")]
        value = 1 if action.value is None else int(action.value)
        # before it has told its size, it is as large as the file says
        present = member.target
        if not present and not resizing(self.state, name):
            present = member.nodes_up if member.nodes_up >= 0 else member.nodes
        wanted = {"grow": present + value, "shrink": present - value, "scale": value}[action.name]
        wanted = max(wanted, member.min_nodes, 0)
        if member.max_nodes:
            wanted = min(wanted, member.max_nodes)
        if wanted == present:
            return [Note("resize-bound", f"{action.name}: member {name} stays at {present} nodes")]
        return [Resize(self.command(), name, wanted)]

    def _stop_member(self, action: ActionSpec) -> list[Effect]:
        name = action.member or action.label or self._only_member()
        member = self.state.members.get(name)
        if member is None:
            return [Note("unknown-member", f"stop-member names {name!r}, which is no member")]
        if member.state in ("closed", "gone"):
            return [Note("member-closed", f"stop-member: member {name} is {member.state}")]
        return [StopMember(self.command(), name)]

    def _resizable(self) -> str:
        for member in self.state.members.values():
            if "resize" in member.capabilities:
                return member.name
        return self._only_member()

    def _avoid(self, action: ActionSpec, event: Event) -> list[Effect]:
        host = action.host or (event.hosts if isinstance(event, JobEvent) else "")
        if not host and isinstance(event, JobEvent) and event.key in self.state.jobs:
            host = self.state.jobs[event.key].hosts
        return [Avoid(tuple(_HOSTS.findall(host)))] if host else [Note("no-host", "avoid: the event names no host")]

    # ---- functions, rules, algorithms --------------------------------------------------------------

    def _group_of(self, event: Event) -> str:
        return event.key.rpartition("-")[0] if isinstance(event, JobEvent) else ""

    def _call(self, action: ActionSpec, event: Event, rule: Rule | None) -> Effect:
        args: dict[str, Any] = {
            "metrics": metrics_for_function(self.state, self.builder),
            "event": to_builtins(event),
            "action": to_builtins(action),
            "rule": to_builtins(rule.spec) if rule is not None else None,
            "binding": dict(rule.binding) if rule is not None else {},
            "now": self.state.now,
        }
        return Call(self.command(), action.label, rule.id if rule is not None else "", args)

    def add_rule(self, rule: dict[str, Any], by: Rule | None) -> Effect:
        """A rule that a function returned, a rule adds or a person asked for. It gets an id that no other has."""
        wanted = rule.get("id") or ""
        found, number = wanted, 0
        base = wanted or (by.id if by is not None else "added")
        while not found or found in self.builder.rule_ids or found in self.state.rules or found in self._ids:
            number += 1
            found = f"{base}+{number}"
        self._ids[found] = None
        return AddRule(found, rule)

    def switch(self, name: str, options: dict[str, Any]) -> list[Effect]:
        """Leave the present algorithm for another."""
        algorithm = self.builder.algorithms.get(name)
        if algorithm is None:
            return [Note("unknown-algorithm", f"there is no algorithm {name!r}")]
        try:
            checked = algorithm.validate(options)
            rules = algorithm.rules(checked, StateView(self.state, self.builder))
        except InputError as error:
            return [Note("bad-options", f"algorithm {name}: {error}")]
        effects: list[Effect] = [SwitchAlgorithm(name, checked)]
        turn = self.builder.switches + 1
        for index, rule in enumerate(rules, 1):
            suffix = f"-{turn}" if turn > 1 else ""
            effects.append(AddRule(f"{name}{suffix}.{rule.id or index}", to_builtins(rule), f"algorithm:{name}"))
        return effects

    def _algorithm(self, action: ActionSpec, event: Event, rule: Rule | None, random: Random) -> list[Effect]:
        state = self.state
        algorithm = self.builder.algorithms.get(state.algorithm)
        if algorithm is None:
            return [Note("unknown-algorithm", f"there is no algorithm {state.algorithm!r}")]
        memory = state.memory.get("algorithm", {})
        view = StateView(state, self.builder)
        outcome = algorithm.act(action.label, self.builder.algorithm_options, memory, view, random)
        effects: list[Effect] = []
        if outcome.memory is not None and outcome.memory != memory:
            effects.append(Remember("algorithm", outcome.memory))
        for step in outcome.actions:
            effects += self.effects(step, event, rule)
        return effects


def _in_states(code: int, states: frozenset[str]) -> bool:
    if not states:
        return True
    if code == NEW:
        return bool(states & {"new", "pending", "active"})
    if code >= 4:
        return bool(states & {"run", "running", "cleanup", "active"})
    names = {1: "submitted", 2: "depend", 3: "sched"}
    return names[code] in states or bool(states & {"pending", "active"})
