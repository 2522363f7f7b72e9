"""A small world for algorithms: groups, members and a first-come queue, with the few triggers that algorithms use.

It is not the engine: no journal, no retries, no limits. It keeps the promises of `engine.algorithm` and nothing else.
"""

import json
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from ensemble.engine.algorithm import GroupView, MemberView, PointView
from ensemble.spec.model import ActionSpec

MAX_TURNS = 20_000


@dataclass
class Point:
    values: dict
    count: int
    nodes: int = 0
    cores: int = 1
    member: str = ""
    submitted: int = 0
    success: int = 0
    failed: int = 0
    cancelled: int = 0
    durations: list[float] = field(default_factory=list)


@dataclass
class Job:
    group: str
    point: Point
    number: int
    member: str = ""
    until: float = 0.0


@dataclass
class Member:
    name: str = "local"
    nodes: int = 4
    per_node: int = 1
    min_nodes: int = 0
    max_nodes: int = 0
    price: float = 0.0
    resizable: bool = False
    state: str = "up"
    delay: float = 0.0
    target: int = 0
    used: int = 0


class World:
    """`runs(job, random)` gives (seconds, good) for a job."""

    def __init__(self, algorithm, options=None, *, groups, members=None, runs: Callable | None = None, seed=1):
        self.algorithm = algorithm
        self.points: dict[str, list[Point]] = groups
        self.list = {member.name: member for member in members or [Member()]}
        self.runs = runs or (lambda job, random: (1.0, True))
        self.random = Random(seed)
        self.seed = seed
        self.clock = 0.0
        self.started = 0.0
        self.memory: dict = {}
        self.queue: list[Job] = []
        self.running: list[Job] = []
        self.resizes: list[tuple[float, Member, int]] = []
        self.order: list[Job] = []
        self.actions: list[ActionSpec] = []
        self.firings: dict[str, int] = {}
        self.ended = ""
        self.most_active = 0
        self.checks: Callable[[World], None] = lambda world: None
        self.options = algorithm.validate(options or {})
        self.rules = list(algorithm.rules(self.options, self))
        self.left = {rule.id: rule.action.repetitions for rule in self.rules}
        self.due = {rule.id: rule.seconds for rule in self.rules if rule.trigger == "interval"}

    # ---- the view ----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.clock

    def groups(self):
        return [self._group(name) for name in self.points]

    def _group(self, name):
        points = self.points[name]
        pending = sum(job.group == name for job in self.queue)
        running = sum(job.group == name for job in self.running)
        total = {
            key: sum(getattr(point, key) for point in points)
            for key in ("count", "submitted", "success", "failed", "cancelled")
        }
        axes = tuple(points[0].values)
        first = points[0]
        return GroupView(
            name, axes, len(points), total["count"], first.nodes, first.cores, first.member,
            total["submitted"], pending, running, total["success"], total["failed"], total["cancelled"], 0,
        )  # fmt: skip

    def points_view(self, name):
        jobs = self.queue + self.running
        return [
            PointView(
                dict(p.values), p.count, p.nodes, p.cores, p.submitted, sum(job.point is p for job in jobs), p.success
            )
            for p in self.points[name]
        ]

    def members(self):
        return [
            MemberView(
                m.name, m.state, m.nodes, m.nodes - -(-m.used // m.per_node), m.nodes * m.per_node,
                m.nodes * m.per_node - m.used, m.target, m.min_nodes, m.max_nodes, m.price,
                sum(job.member == m.name for job in self.running), m.resizable,
            )
            for m in self.list.values()
        ]  # fmt: skip

    def metric(self, path):
        statistic, name, inside, quantity = re.fullmatch(r"(\w+)\.([^\[]+?)(?:\[(.*)\])?\.(\w+)", path).groups()
        assert quantity == "duration"
        points = self.points[name]
        if inside is not None:
            points = [p for p in points if ",".join(f"{a}={v}" for a, v in p.values.items()) == inside]
        values = [value for point in points for value in point.durations]
        if statistic == "count":
            return float(len(values))
        if not values:
            return None
        return {"mean": statistics.fmean, "median": statistics.median, "ewma": lambda v: v[-1]}[statistic](values)

    # ---- running -----------------------------------------------------------------------------------

    def run(self, until=1e9):
        """Go on until nothing is left to happen, the algorithm stops it, or time `until`."""
        self._fire(lambda rule: rule.trigger == "start")
        self._settle()
        while not self.ended:
            times = [job.until for job in self.running] + [when for when, _, _ in self.resizes]
            if times or self.queue:
                times += list(self.due.values())
            if not times or min(times) > until:
                break
            self.clock = min(times)
            self._happen()
        return self

    def idle_checks(self, count):
        """`count` more intervals with nothing going on."""
        for _ in range(count):
            if not self.ended:
                self.clock = min(self.due.values())
                self._happen()

    def _happen(self):
        for when, member, nodes in [item for item in self.resizes if item[0] <= self.clock]:
            self.resizes.remove((when, member, nodes))
            member.nodes = nodes
        for job in [job for job in self.running if job.until <= self.clock]:
            self._finish(job)
        for rule_id, when in self.due.items():
            if when <= self.clock:
                rule = next(rule for rule in self.rules if rule.id == rule_id)
                self.due[rule_id] = when + rule.seconds
                self._fire(lambda each, rule=rule: each is rule)
        self._settle()

    def _finish(self, job):
        self.running.remove(job)
        self.list[job.member].used -= job.point.cores
        seconds, good = job.outcome
        if good:
            job.point.success += 1
            job.point.durations.append(seconds)
        else:
            job.point.failed += 1
        self._settle(start=False)
        self._fire(lambda rule: rule.trigger == "job-finish" or rule.trigger == ("job-success" if good else "job-fail"))

    def _settle(self, start=True):
        """Start what fits, and look at the metric rules, until nothing changes."""
        for _ in range(MAX_TURNS):
            before = (len(self.queue), len(self.running))
            self._metric_rules()
            if start:
                self._start_jobs()
            if (len(self.queue), len(self.running)) == before:
                return
        raise AssertionError("the algorithm never comes to rest")

    def _metric_rules(self):
        for rule in self.rules:
            if rule.trigger == "metric":
                for _ in range(MAX_TURNS):
                    value = {"count.*.pending": len(self.queue), "count.*.active": len(self.queue) + len(self.running)}
                    assert rule.when.startswith("< ")
                    before = len(self.order)
                    if value[rule.name] < float(rule.when[2:]):
                        self._fire(lambda each, rule=rule: each is rule)
                    if len(self.order) == before:
                        break

    def _start_jobs(self):
        for job in list(self.queue):
            for member in self.list.values():
                fits = member.nodes * member.per_node - member.used >= job.point.cores
                if member.state == "up" and job.point.member in ("", member.name) and fits:
                    self.queue.remove(job)
                    job.member = member.name
                    member.used += job.point.cores
                    job.outcome = self.runs(job, self.random)
                    job.until = self.clock + job.outcome[0]
                    self.running.append(job)
                    break
            else:
                if not job.point.member:
                    return  # first come, first served

    def _fire(self, which):
        for rule in self.rules:
            if which(rule) and self.left[rule.id] != 0 and not self.ended:
                self.left[rule.id] -= 1 if self.left[rule.id] > 0 else 0
                self.firings[rule.id] = self.firings.get(rule.id, 0) + 1
                self.act(rule.action.label)

    def act(self, step):
        seed = self.seed * 1000 + sum(self.firings.values())
        frozen = json.dumps(self.memory)
        view = _OnlyView(self)
        outcome = self.algorithm.act(step, self.options, self.memory, view, Random(seed))
        assert json.dumps(self.memory) == frozen, "a step must not change the memory it was given"
        again = self.algorithm.act(step, self.options, self.memory, view, Random(seed))
        assert again == outcome, "a step must be pure"
        if outcome.memory is not None:
            self.memory = json.loads(json.dumps(outcome.memory))
        for action in outcome.actions:
            self._do(action)
        self.most_active = max(self.most_active, len(self.queue) + len(self.running))
        self.checks(self)
        return outcome

    def _do(self, action):
        self.actions.append(action)
        if action.name == "submit":
            points = self.points[action.label]
            chosen = [p for p in points if not action.points or p.values in action.points]
            assert chosen, f"no such point: {action.points}"
            for point in chosen[:1] if action.points else chosen:
                for _ in range(point.count if action.value is None else action.value):
                    job = Job(action.label, point, len(self.order))
                    point.submitted += 1
                    self.queue.append(job)
                    self.order.append(job)
        elif action.name in ("grow", "shrink"):
            member = self.list[action.member]
            nodes = (member.target or member.nodes) + (action.value if action.name == "grow" else -action.value)
            assert nodes >= max(1, member.min_nodes)
            assert not member.max_nodes or nodes <= member.max_nodes
            member.target = nodes
            self.resizes.append((self.clock + member.delay, member, nodes))
        elif action.name == "stop":
            self.ended = "stop"
        else:
            raise AssertionError(f"unexpected action {action}")


class _OnlyView:
    """Nothing of the world but what `View` promises."""

    def __init__(self, world):
        self.now, self.started = world.now, world.started
        self.groups, self.points, self.members = world.groups, world.points_view, world.members
        self.metric = world.metric
