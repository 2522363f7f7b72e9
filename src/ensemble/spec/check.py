"""What is wrong with an ensemble although each of its lines is right: found before anything is spent.

An *error* is certain (jobs that no member can ever hold). A *warning* is likely a mistake, and may be meant: a rule
that can never fire, a loop without a bound, a group that is never submitted, a parameter that changes nothing.
"""

from __future__ import annotations

__all__ = ["Finding", "check"]

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ensemble.model.errors import ExpressionError, InputError
from ensemble.model.jobs import COUNTS, RESULT_COUNTS, Resources
from ensemble.model.placement import Size, never_fits
from ensemble.spec.actions import traits
from ensemble.spec.expressions import parse_condition, resolve_old
from ensemble.spec.model import UNLIMITED, EnsembleSpec, GroupSpec, MemberSpec, RuleSpec
from ensemble.spec.outline import Outline
from ensemble.spec.placeholders import JOB_NAMES, shell_syntax, suspicious
from ensemble.spec.ranges import Range, may_hold
from ensemble.spec.render import Renderer
from ensemble.spec.starting import groups_that_start, rule_sources
from ensemble.spec.tree import Expr, MetricPath, paths

READ: Final = 100
"""Points of a group that the loader renders to see whether its texts can be filled."""

POINTS: Final = 2_000
"""Points of a group whose size is looked at; beyond that, evenly spread ones."""

RISING: Final = ("submitted", "finished", *RESULT_COUNTS)
"""Counts that never fall."""

ROUNDS: Final = 10
"""How often what may happen is looked at anew with what was learnt; stopping early only finds less."""


class Finding(NamedTuple):
    """One thing. `where` is a path inside the file, such as `rules[2].when`."""

    code: str
    where: str
    message: str
    hint: str = ""
    error: bool = False


def check(
    spec: EnsembleSpec, sizes: Mapping[str, Size] | None = None, fixed: frozenset[str] = frozenset()
) -> list[Finding]:
    """Look at a whole ensemble. Pure.

    `sizes` are those of its members, by name, as far as they are known (a member that is not named here may have any
    size); `fixed` names the members whose size cannot change. Findings come in the order of the file.
    """
    return [*_Check(spec, dict(sizes or {}), fixed).findings()]


class _Check:
    def __init__(self, spec: EnsembleSpec, sizes: dict[str, Size], fixed: frozenset[str]) -> None:
        self.spec = spec
        self.members = dict(spec.members) or {"local": MemberSpec()}
        self.sizes = sizes
        self.fixed = fixed
        self.outline = Outline(spec)
        self.names = self.outline.groups
        self.figures = self.outline.figures
        self.started = dict.fromkeys(groups_that_start(spec))
        self.renderer = Renderer(spec, "run", "/run")
        self.submitting: dict[str, list[int]] = {}
        """The rules that submit each group, by their place."""
        for index, rule in enumerate(spec.rules):
            if traits(rule.action).submits and rule.action.label in self.names:
                self.submitting.setdefault(rule.action.label, []).append(index)
        self._conditions = [_condition(rule) for rule in spec.rules]
        kinds = [traits(rule.action) for rule in spec.rules]
        self.open = spec.algorithm is not None or any(kind.open_ended for kind in kinds)
        """Whether anything may be submitted by what cannot be seen from here."""
        self.growing = self.open or any(kind.resizes for kind in kinds)
        limits = spec.limits
        self.bounded = bool(limits.jobs or limits.walltime or limits.node_hours or limits.cost)
        self.groups: dict[str, None] = dict.fromkeys(self.names)
        """Groups whose jobs may be submitted."""
        self.live: dict[int, None] = dict.fromkeys(range(len(spec.rules)))
        """Rules that may fire, by their place."""
        self._most: dict[str, float] = {}
        self._explore()

    # ---- what may happen ---------------------------------------------------------------------------

    def _explore(self) -> None:
        """Narrow down which groups may run and which rules may fire.

        Each round starts from what starts by itself and takes the bounds on counts from the round before. These hold
        in every run, and so does what follows from them: a rule that is left out never fires.
        """
        for _ in range(0 if self.open else ROUNDS):
            groups: dict[str, None] = dict.fromkeys(self.started)
            live: dict[int, None] = {}
            found = True
            while found:
                found = False
                for index, rule in enumerate(self.spec.rules):
                    if index not in live and not self._silent(index, groups):
                        live[index] = None
                        found = True
                        if traits(rule.action).submits and rule.action.label in self.names:
                            groups[rule.action.label] = None
            known = (self.groups, self.live)
            self.groups = {name: None for name in self.names if name in groups}
            self.live = live
            self._most.clear()
            if known == (self.groups, self.live):
                return

    def _silent(self, index: int, groups: Mapping[str, None]) -> tuple[str, str] | None:
        """The key to blame and why a rule never fires, where only these groups run; None when it may."""
        rule = self.spec.rules[index]
        if rule.trigger.startswith("job-"):
            if rule.name and rule.name not in groups:
                return "", f"it waits for {rule.name}, which is never submitted"
            if not groups:
                return "", "it waits for jobs, and none is ever submitted"
        expr = self._conditions[index]
        if expr is None:
            return None
        key = ".when" if rule.when is not None else ".name"
        if not may_hold(expr, self._range):
            return key, f"this is never true: {self._why(expr)}"
        if rule.trigger == "metric" and not any(self._changes(path, groups) for path in paths(expr)):
            named = dict.fromkeys(resolve_old(path, self.names, self.figures).group for path in paths(expr))
            what = f"nothing is ever submitted to {' or '.join(named)}" if named else "it reads no value"
            return key, f"it waits for a change, and {what}"
        return None

    def _changes(self, path: MetricPath, groups: Mapping[str, None]) -> bool:
        """Whether a value may ever change."""
        path = resolve_old(path, self.names, self.figures)
        if path.statistic in ("nodes", "cores", "queue", "derived"):
            return True
        return bool(groups) if path.group == "*" else path.group in groups

    def findings(self) -> Iterator[Finding]:
        if not self.groups and not self.open:
            yield Finding(
                "nothing-runs",
                "jobs",
                "no job is ever submitted: no group starts by itself, and no rule that can fire submits one",
                "Leave out `submit: rules`, or add a rule with `trigger: start` that submits.",
                error=True,
            )
        seen: dict[str, int] = {}
        for index, group in enumerate(self.spec.jobs):
            template = seen.get(group.name, 0)
            seen[group.name] = template + 1
            yield from self._fits(group, template, f"jobs[{index}]")
            yield from self._points(group, f"jobs[{index}]")
            if template == 0 and self.groups:
                yield from self._submitted(group, f"jobs[{index}]")
        for index, rule in enumerate(self.spec.rules):
            yield from self._rule(index, rule, f"rules[{index}]")
        yield from self._loops()
        yield from self._limits()

    # ---- groups ------------------------------------------------------------------------------------

    def _fits(self, group: GroupSpec, template: int, where: str) -> Iterator[Finding]:
        """Jobs that can never fit: certain, so an error."""
        mine = [group.member] if group.member in self.members else [] if group.member else list(self.members)
        if not mine or any(self._may_grow(name) for name in mine):
            return
        step = max(1, len(group.points) // POINTS)
        same = _size_of_all(group)
        for values in group.points[:1] if same is not None else group.points[::step]:
            try:
                need = same or self.renderer.render(group.name, template, dict(values), f"{group.name}-0", 1).resources
            except InputError as error:
                yield Finding("bad-point", f"{where}.parameters", str(error), error=True)
                return
            reasons = [never_fits(need, self._size(name)) for name in mine]
            if all(reasons):
                point = ", ".join(f"{axis}={value}" for axis, value in values.items())
                at = f" with {point}" if point else ""
                what = reasons[0] if len(reasons) == 1 else "; ".join(map(_on, mine, reasons))
                yield Finding(
                    "never-fits",
                    where,
                    f"a job of {group.name}{at} can never run: {what}",
                    "Ask for less, or give the member more (`members`, `--nodes`).",
                    error=self.open or group.name in self.groups,
                )
                return

    def _size(self, name: str) -> Size:
        """The most a member can have: what the file lets it grow to, where a rule makes it grow."""
        size, nodes = self.sizes[name], self.members[name].nodes
        bound = self.members[name].max_nodes and not self.growing and name not in self.fixed
        return size._replace(nodes=min(nodes, size.nodes)) if bound else size

    def _may_grow(self, name: str) -> bool:
        if name not in self.sizes:
            return True
        return self.growing and name not in self.fixed and not self.members[name].max_nodes

    def _points(self, group: GroupSpec, where: str) -> Iterator[Finding]:
        texts = [group.command, group.setup, group.cleanup, group.workdir, group.retries.command, *group.env.values()]
        for text in texts:
            for doubt in suspicious(text, group.axes):
                yield Finding(
                    "placeholder",
                    f"{where}.command",
                    f"{doubt.text} is left as it is, because there is no placeholder {doubt.name!r}",
                    f"Did you mean {doubt.meant}?",
                )
        for key, text in (("command", group.command), ("retries.command", group.retries.command)):
            if not group.shell and "\n" not in text.strip():
                yield from _shell_syntax(text, (*group.axes, *JOB_NAMES), f"{where}.{key}")
        rest = [str(group.nodes), str(group.tasks), str(group.cores), str(group.gpus), str(group.walltime)]
        rest += [group.member, group.valid, group.label, *map(str, group.options.values()), str(group.simulate)]
        rest += [part for item in group.inputs for part in (item.path, item.to, item.text or "")]
        whole = "\n".join((*texts, *rest))
        for axis in group.axes:
            values = {repr(point.get(axis)) for point in group.points}
            # what reads its parent's directory differs by its parent
            if len(values) > 1 and axis not in whole and "{parent" not in whole:
                yield Finding(
                    "axis-unused",
                    f"{where}.parameters",
                    f"nothing in {group.name} uses {axis}: its points all do the same",
                    f"Write {{{axis}}} in the command, or use `count` to repeat jobs.",
                )

    def _submitted(self, group: GroupSpec, where: str) -> Iterator[Finding]:
        if group.name not in self.started and self.most_jobs(group.name) == 0:
            yield Finding(
                "never-submitted",
                f"{where}.name",
                f"{group.name} is never submitted: it does not start by itself and no rule "
                + ("that can fire submits it" if group.name in self.submitting else "submits it"),
                "Say `submit: start`, or give it a rule.",
            )

    def most_jobs(self, name: str) -> float:
        """How many jobs of a group there can be, infinity included."""
        if name not in self._most:
            self._most[name] = self._most_jobs(name)
        return self._most[name]

    def _most_of_all(self) -> float:
        if "*" not in self._most:
            self._most["*"] = sum(self.most_jobs(name) for name in self.names)
        return self._most["*"]

    def _most_jobs(self, name: str) -> float:
        if self.open:
            return math.inf
        if name not in self.groups:
            return 0
        entries = self.names[name]
        per_round = sum(group.count * len(group.points) for group in entries)
        points = sum(len(group.points) for group in entries)
        total: float = per_round if name in self.started else 0
        for index in self.submitting.get(name, ()):
            rule = self.spec.rules[index]
            action = rule.action
            if index not in self.live:
                continue
            if action.repetitions == UNLIMITED or rule.for_each or action.points:
                # new points count for every rule that submits per point
                return math.inf
            once = per_round if action.value is None else int(action.value) * points
            total += max(once, per_round) * (1 if rule.trigger == "start" else action.repetitions)
        return total

    # ---- rules -------------------------------------------------------------------------------------

    def _rule(self, index: int, rule: RuleSpec, where: str) -> Iterator[Finding]:
        action, live = rule.action, index in self.live
        group = rule.name if rule.trigger.startswith("job-") else ""
        silent = None if live else self._silent(index, self.groups)
        if silent is not None:
            yield Finding("never-fires", where + silent[0], silent[1])
        elif rule.trigger == "job-retry":
            mine = self.names[group] if group else self.spec.jobs
            if not any(one.retries.limit for one in mine):
                yield Finding(
                    "no-retries",
                    where,
                    f"{f'{group} has no' if group else 'no group has'} `retries`, so only a job that lost its node is "
                    "tried again",
                    "Give the group `retries`, or use `job-fail`.",
                )
        if rule.trigger == "start" and action.repetitions != 1:
            yield Finding(
                "never-again", f"{where}.action", "a run starts once, so this fires once", "Leave out `repetitions`."
            )
        if live and rule.trigger in ("job-success", "job-fail") and action.backoff and action.repetitions != 1:
            matches = self.most_jobs(group) if group else self._most_of_all()
            if matches < action.backoff + 2:
                yield Finding(
                    "never-again",
                    f"{where}.action.backoff",
                    f"there are at most {matches:g} matches, and `backoff: {action.backoff}` skips all after the first",
                    "Lower `backoff`, or leave out `repetitions`.",
                )
        if traits(rule.action).resizes:
            members = [action.member] if action.member else list(self.members)
            if members and all(name in self.fixed for name in members):
                kinds = ", ".join(f"{name} ({self.members[name].kind})" for name in members if name in self.members)
                yield Finding(
                    "cannot-resize",
                    f"{where}.action",
                    f"{action.name}: the size of {kinds} cannot be changed from here",
                )
            bounds = [self.members[name] for name in members if name in self.members]
            if action.name == "grow" and bounds and all(one.max_nodes and one.nodes >= one.max_nodes for one in bounds):
                yield Finding(
                    "never-fires", f"{where}.action", "grow: the member begins with the most nodes it may have"
                )

    def _range(self, path: MetricPath) -> Range:
        """What a metric can be."""
        path = resolve_old(path, self.names, self.figures)
        if path.statistic in ("nodes", "cores", "queue"):
            return Range(0, math.inf)
        if path.statistic == "derived":
            return Range(-math.inf, math.inf)
        most = math.inf
        if path.group in self.names:
            most = self.most_jobs(path.group)
        elif path.group == "*":
            most = self._most_of_all()
        limit = self.spec.limits.jobs
        if limit:
            most = min(most, limit)
        if path.statistic == "count":
            once = path.quantity in COUNTS and path.quantity != "failed_attempts"
            return Range(0, most if once or not most else math.inf, whole=True)
        if most == 0:
            return Range(math.inf, -math.inf)
        if path.statistic in ("variance", "std", "sem", "ci95", "iqr", "mad") or (
            path.statistic != "rel_ci95" and path.quantity in ("duration", "pending", "node_hours", "cost")
        ):
            return Range(0, math.inf)
        return Range(0 if path.statistic == "rel_ci95" else -math.inf, math.inf)

    def _why(self, expr: Expr) -> str:
        told = []
        for path in dict.fromkeys(paths(expr)):
            found = self._range(path)
            if found.low > found.high:
                told.append(f"{path} never has a value")
            elif found.high < math.inf:
                told.append(f"{path} is from {found.low:g} to {found.high:g}")
            elif found.low > -math.inf:
                told.append(f"{path} is never below {found.low:g}")
        return "; ".join(told) or "its parts are constant"

    # ---- loops -------------------------------------------------------------------------------------

    def _loops(self) -> Iterator[Finding]:
        """Rules that submit what they wait for, without end and without a limit."""
        if self.bounded or self.open or any(traits(self.spec.rules[index].action).ends for index in self.live):
            return
        feeds: dict[str, set[str]] = {}
        endless = [
            (index, rule)
            for index, rule in enumerate(self.spec.rules)
            if index in self.live
            and traits(rule.action).submits
            and rule.action.repetitions == UNLIMITED
            and not self._bounds_itself(index)
        ]
        for _, rule in endless:
            sources = rule_sources(rule, self.names)
            for name in self.names if "*" in sources else sources:
                feeds.setdefault(name, set()).add(rule.action.label)
        for index, rule in endless:
            where = f"rules[{index}]"
            sources = rule_sources(rule, self.names)
            if rule.trigger == "idle" and rule.when is None:
                yield Finding(
                    "endless",
                    where,
                    f"this ensemble never ends: whenever nothing is left to do, it submits {rule.action.label} again",
                    "Give `repetitions` a number, or `limits`.",
                )
            elif rule.trigger == "interval" and rule.when is None:
                yield Finding(
                    "endless",
                    where,
                    f"it submits {rule.action.label} every {rule.seconds:g} s for as long as anything runs",
                    "Give `repetitions` a number, or `limits`.",
                )
            elif any(_reaches(feeds, rule.action.label, name) for name in (self.names if "*" in sources else sources)):
                yield Finding(
                    "endless",
                    where,
                    f"nothing bounds this loop: jobs of {rule.action.label} lead to more of them",
                    "Give `limits` (`jobs`, `walltime`, `cost`), or `repetitions` a number.",
                )

    def _bounds_itself(self, index: int) -> bool:
        """Whether the condition compares a count that only grows with something above it.

        `submitted` and `finished` grow with whatever sets a rule off. Another count grows only where it is the one
        value that a metric rule waits for.
        """
        rule, expr = self.spec.rules[index], self._conditions[index]
        if expr is None:
            return False
        rising = RISING if rule.trigger == "metric" and len(paths(expr)) == 1 else ("submitted", "finished")

        def beyond(path: MetricPath) -> Range:
            path = resolve_old(path, self.names, self.figures)
            if path.statistic == "count" and path.quantity in rising:
                return Range(1e15, math.inf)
            return Range(-math.inf, math.inf)

        return not may_hold(expr, beyond)

    # ---- limits ------------------------------------------------------------------------------------

    def _limits(self) -> Iterator[Finding]:
        limits = self.spec.limits
        first = sum(group.count * len(group.points) for group in self.spec.jobs if group.name in self.started)
        if limits.jobs and first > limits.jobs:
            yield Finding(
                "limit-at-once",
                "limits.jobs",
                f"the {first:,} jobs submitted at the start are more than the limit of {limits.jobs:,}",
            )
        if limits.cost and not any(member.price for member in self.members.values()):
            yield Finding(
                "limit-without-price",
                "limits.cost",
                "no member has a `price`, so no cost is ever counted",
                "Give members a price, such as `price: 0.41 USD/node-hour`.",
            )
        for index, group in enumerate(self.spec.jobs):
            if limits.walltime and isinstance(group.walltime, float) and group.walltime > limits.walltime:
                yield Finding(
                    "limit-below-walltime",
                    f"jobs[{index}].walltime",
                    f"one job of {group.name} may run longer ({group.walltime:g} s) than the whole ensemble "
                    f"({limits.walltime:g} s)",
                )


def _size_of_all(group: GroupSpec) -> Resources | None:
    """What each job needs where all need the same; None where it depends on the point, or points are still to be read.

    The loader has rendered the first `READ` points already.
    """
    nodes, tasks, cores, gpus = group.nodes, group.tasks, group.cores, group.gpus
    if len(group.points) > READ or not (
        isinstance(nodes, int) and isinstance(tasks, int) and isinstance(cores, int) and isinstance(gpus, int)
    ):
        return None
    return Resources(nodes, max(tasks, nodes), cores, gpus, group.exclusive, group.binding)


def _condition(rule: RuleSpec) -> Expr | None:
    """The condition of a rule that has one."""
    metric = rule.trigger == "metric"
    if rule.when is None and not metric:
        return None
    try:
        return parse_condition(rule.name if metric else "", rule.when)
    except ExpressionError:
        return None


def _shell_syntax(command: str, names: tuple[str, ...], where: str) -> Iterator[Finding]:
    """What a command without a shell hands to its program as it stands."""
    found = shell_syntax(command, names)
    if found:
        yield Finding(
            "needs-a-shell",
            where,
            f"{_without_a_shell(found, command.split(maxsplit=1)[0])}: a command of one line runs without a shell",
            "Add `shell: true` to run it with /bin/sh, or put the text in single quotes if it is meant literally.",
        )


def _without_a_shell(found: tuple[str, ...], program: str) -> str:
    """What becomes of shell syntax that no shell reads."""
    first = f"{found[0]!r} is taken for the name of the program"
    if not program.startswith(found[0]):
        return f"{_listed(found)} {'is' if len(found) == 1 else 'are'} passed to {program} as written"
    return f"{first}, and {_listed(found[1:])} for its arguments" if found[1:] else first


def _listed(texts: tuple[str, ...]) -> str:
    """Return texts as a sentence lists them: `'|', '>' and '$HOME'`."""
    *before, last = map(repr, texts)
    return f"{', '.join(before)} and {last}" if before else last


def _on(member: str, reason: str) -> str:
    return f"on {member} {reason}"


def _reaches(feeds: Mapping[str, set[str]], start: str, goal: str) -> bool:
    """Whether jobs of `start` lead to jobs of `goal`."""
    reached, todo = {start}, [start]
    while todo:
        for name in sorted(feeds.get(todo.pop(), ())):
            if name not in reached:
                reached.add(name)
                todo.append(name)
    return goal in reached
