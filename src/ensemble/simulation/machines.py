"""The members of a simulation: a queue each, and the shapes of the jobs that go there."""

from __future__ import annotations

__all__ = ["CAPABILITIES", "Machines", "opened"]

from collections.abc import Callable, Iterator
from typing import Any, Final

from ensemble.engine import Engine
from ensemble.model.decisions import Span, Submit
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import JobSpec
from ensemble.simulation.jobs import JobShape, shape_of
from ensemble.simulation.options import here, options_of
from ensemble.simulation.prepare import Prepared
from ensemble.simulation.queue import SimulatedQueue
from ensemble.spec.expressions import parse_condition, paths
from ensemble.spec.model import EnsembleSpec, GroupSpec, MemberSpec
from ensemble.spec.placeholders import JOB_NAMES, compile_template

CAPABILITIES: Final = ("absence-is-proof", "exactly-once", "figures", "gpus", "resize", "walltime")
"""What a simulated member can."""

_OF_THE_JOB: Final = ("key", "seed", "attempt")

Values = tuple[tuple[str, Any], ...]


class Machines:
    """Every member of a file as a simulated queue. `assumed` gathers what was taken where the file says nothing."""

    def __init__(self, prepared: Prepared, engine: Engine, emit: Callable[[Any], None]) -> None:
        """Raises `InputError` when a member cannot be simulated."""
        spec = prepared.spec
        self.assumed = list(prepared.assumed)
        self.queues: dict[str, SimulatedQueue] = {}
        self._engine = engine
        self._seed = engine.spec.seed
        self._prepared = prepared
        self._shapes: dict[tuple[str, str, int, int, tuple[str, ...]], JobShape] = {}
        self._said: dict[str, None] = {}
        self._singular: dict[str, bool] = {}
        """Groups whose jobs differ even within a point."""
        self._outputs: dict[str, dict[str, None]] = {}
        for group in spec.jobs:
            self._singular[group.name] = self._singular.get(group.name, False) or _differ(group)
            self._outputs.setdefault(group.name, {}).update(dict.fromkeys(group.outputs))
        watched = _watched(spec)
        for name, member in (spec.members or {"local": MemberSpec()}).items():
            self.queues[name] = self._queue(name, member, emit, watched)

    def _queue(self, name: str, member: MemberSpec, emit: Callable[[Any], None], watched: bool) -> SimulatedQueue:
        cores = member.cores
        if not cores:
            cores = here()
            self.assumed.append(f"member {name}: {cores} cores a node, as this machine has")
        return SimulatedQueue(
            name,
            max(1, member.nodes),
            cores,
            member.gpus,
            options_of(member.kind, member.options, name),
            emit,
            seed=self._seed,
            max_nodes=member.max_nodes,
            watched=watched,
        )

    def shapes(self, member: str, span: Span) -> Iterator[tuple[str, int, int, JobShape]]:
        """(group, first number, how many, shape) of the jobs of a span, which has just been submitted."""
        if span.attempt == 1 and not self._singular[span.group]:
            key = (member, span.group, span.point, 1, self._engine.state.avoid)
            shape = self._shapes.get(key)
            if shape is None:
                shape = self._shapes[key] = self._shape(member, span, self._job(member, span, span.first))
            yield span.group, span.first, span.count, shape
            return
        for number in range(span.first, span.first + span.count):
            job = self._job(member, span, number)
            key = (member, span.group, span.point, span.attempt, job.avoid)
            shape = self._shapes.get(key)
            if shape is None or self._singular[span.group]:
                shape = self._shapes[key] = self._shape(member, span, job)
            yield span.group, number, 1, shape

    def _job(self, member: str, span: Span, number: int) -> JobSpec:
        one = Span(span.group, span.point, number, 1, span.attempt)
        return self._engine.job_specs(Submit(0, member, (one,)))[0]

    def _shape(self, member: str, span: Span, job: JobSpec) -> JobShape:
        pool = self.queues[member].pool
        known = self._prepared.known(job.group, job.point)
        shape = shape_of(job, pool.cores, pool.gpus, self._seed, known)
        model = shape.model
        if model.basis != "simulate.duration":
            self._say(f"group {job.group}: durations from {model.basis}")
        lacking = [name for name in self._outputs[job.group] if name not in model.figures and not model.fails]
        if lacking:
            names = ", ".join(lacking)
            self._say(f"group {job.group}: no model for {names} (`simulate.figures`), so rules on it stay silent")
        return shape

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said[text] = None
            self.assumed.append(text)


def opened(queue: SimulatedQueue) -> MemberEvent:
    """What a member says first."""
    sizes = queue.sizes()
    return MemberEvent(
        queue.name,
        "open",
        queue.now,
        stream="simulated",
        nodes_up=sizes["nodes_up"],
        nodes_free=sizes["nodes_free"],
        cores_up=sizes["cores_up"],
        cores_free=sizes["cores_free"],
        gpus_up=sizes["gpus_up"],
        cores_per_node=queue.pool.cores,
        capabilities=CAPABILITIES,
    )


def _differ(group: GroupSpec) -> bool:
    """Whether what is simulated differs between the jobs of one point."""
    names = (*group.axes, *JOB_NAMES)
    return any(
        name in _OF_THE_JOB
        for text in group.simulate.values()
        if isinstance(text, str)
        for name in compile_template(text, names).names
    )


def _watched(spec: EnsembleSpec) -> bool:
    """Whether anything waits for what the members tell of themselves."""
    if spec.algorithm is not None or spec.custom:
        return True
    for rule in spec.rules:
        if rule.trigger == "member-nodes" or rule.action.name in ("switch-algorithm", "add-rule"):
            return True
        if rule.trigger == "metric" or rule.when is not None:
            expr = parse_condition(rule.name if rule.trigger == "metric" else "", rule.when)
            if any(path.statistic in ("nodes", "cores", "queue") for path in paths(expr)):
                return True
    return False
