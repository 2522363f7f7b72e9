"""The members of a simulation: a queue each, and the shapes of the jobs that go there."""

from __future__ import annotations

__all__ = ["CAPABILITIES", "Machines"]

from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import structs

from ensemble.engine import Batch, Submission
from ensemble.members.kinds import Traits, traits_of
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import JobSpec
from ensemble.simulation.jobs import JobShape, shape_of
from ensemble.simulation.options import here, options_of
from ensemble.simulation.prepare import Prepared
from ensemble.simulation.queue import SimulatedQueue
from ensemble.spec.expressions import parse_condition, paths
from ensemble.spec.model import EnsembleSpec, GroupSpec, MemberSpec
from ensemble.spec.placeholders import JOB_NAMES, compile_template

CAPABILITIES: Final = ("absence-is-proof", "exactly-once", "figures", "gpus", "walltime")
"""What every simulated member can."""

_OF_THE_JOB: Final = ("key", "seed", "attempt")

Values = tuple[tuple[str, Any], ...]


class Machines:
    """Every member of a file as a simulated queue. `assumed` gathers what was taken where the file says nothing."""

    def __init__(self, prepared: Prepared, emit: Callable[[Any], None]) -> None:
        """Raises `InputError` when a member cannot be simulated."""
        spec = prepared.spec
        self.assumed = dict.fromkeys(prepared.assumed)
        self.queues: dict[str, SimulatedQueue] = {}
        self._seed = spec.seed
        self._prepared = prepared
        self._shapes: dict[tuple[str, str, int, int, tuple[str, ...]], JobShape] = {}
        self._singular: dict[str, bool] = {}
        """Groups whose jobs differ even within a point."""
        self._outputs: dict[str, dict[str, None]] = {}
        for group in spec.jobs:
            self._singular[group.name] = self._singular.get(group.name, False) or _differ(group)
            self._outputs.setdefault(group.name, {}).update(dict.fromkeys(group.outputs))
        self._traits: dict[str, Traits] = {}
        watched = _watched(spec)
        for name, member in (spec.members or {"local": MemberSpec()}).items():
            self.queues[name] = self._queue(name, member, emit, watched)
            self._traits[name] = traits_of(member.kind) or Traits()

    def _queue(self, name: str, member: MemberSpec, emit: Callable[[Any], None], watched: bool) -> SimulatedQueue:
        cores = member.cores
        if not cores:
            cores = here()
            self._assume(f"member {name}: {cores} cores a node, as this machine has")
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

    def opened(self, name: str) -> MemberEvent:
        """The first event of a member.

        It claims `resize` only where its kind can change its size: the nodes of such a member are paid for while they
        are held, those of others while jobs run on them.
        """
        queue, traits = self.queues[name], self._traits[name]
        sizes = queue.sizes()
        capabilities = set(CAPABILITIES)
        if traits.own_nodes:
            capabilities.add("own-nodes")
        if not traits.fixed_size:
            capabilities.add("resize")
        return MemberEvent(
            name,
            "open",
            queue.now,
            stream="simulated",
            nodes_up=sizes["nodes_up"],
            nodes_free=sizes["nodes_free"],
            cores_up=sizes["cores_up"],
            cores_free=sizes["cores_free"],
            gpus_up=sizes["gpus_up"],
            cores_per_node=queue.pool.cores,
            capabilities=tuple(sorted(capabilities)),
        )

    def shapes(self, command: Submission) -> Iterator[tuple[Batch, JobShape]]:
        """The jobs of a command in batches of one shape."""
        for batch in command.batches:
            parts = [batch]
            if self._singular[batch.group]:
                numbers = range(batch.first, batch.first + batch.count)
                parts = [structs.replace(batch, first=number, count=1) for number in numbers]
            for part in parts:
                key = (command.member, part.group, part.point, part.attempt, part.avoid)
                shape = self._shapes.get(key)
                if shape is None or self._singular[part.group]:
                    (job,) = command.describe(structs.replace(part, count=1))
                    shape = self._shapes[key] = self._shape(command.member, job)
                yield part, shape

    def _shape(self, member: str, job: JobSpec) -> JobShape:
        pool = self.queues[member].pool
        known = self._prepared.known(job.group, job.point)
        shape = shape_of(job, pool.cores, pool.gpus, self._seed, known)
        model = shape.model
        if model.basis != "simulate.duration":
            self._assume(f"group {job.group}: durations from {model.basis}")
        lacking = [name for name in self._outputs[job.group] if name not in model.figures and not model.fails]
        if lacking:
            names = ", ".join(lacking)
            self._assume(f"group {job.group}: no model for {names} (`simulate.figures`), so rules on it stay silent")
        return shape

    def _assume(self, text: str) -> None:
        self.assumed[text] = None


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
    """Whether anything waits for what the members report of themselves."""
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
