"""What an action has at hand when its effects are worked out: the state, the ids of this step, why it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from ensemble.engine.build import Builder
from ensemble.engine.rules import Rule
from ensemble.engine.state import PAUSE, Binding, Group, Job, State
from ensemble.engine.transitions import NEW, RUN
from ensemble.model.decisions import AddRule, Cancel, Create, Drain, Effect, Note, Pause, Span
from ensemble.model.events import Event, JobEvent
from ensemble.model.jobs import Scalar
from ensemble.spec.actions import ActionType, find_action
from ensemble.spec.model import ActionSpec


class Cause(NamedTuple):
    """Why an action is asked for: the event, the rule that fired (None: a request or a function's result), the
    generator that every random choice of this firing comes from, the key of the job that a function is to be called
    for, and the job that the event is about."""

    event: Event
    rule: Rule | None = None
    random: Random | None = None
    key: str = ""
    job: Job | None = None

    @property
    def binding(self) -> dict[str, Scalar]:
        """The values of a `for_each` rule; empty for any other."""
        return self.rule.binding if self.rule is not None else {}

    @property
    def group(self) -> str:
        """The group of the event's job; empty when it is no event of a job."""
        return self.event.key.rpartition("-")[0] if isinstance(self.event, JobEvent) else ""


class Context:
    """What an action works with. It reads the state and never changes it.

    It counts the commands, jobs, points and rules that the present list of effects already uses, so that several
    effects of one step do not collide.
    """

    __slots__ = ("_command", "_created", "_ids", "_numbers", "builder", "calls", "points", "state")

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder
        self.begin()

    def begin(self) -> None:
        """Start a new step."""
        self._command = self.state.next_command
        self._numbers: dict[str, int] = {}
        self._ids: dict[str, None] = {}
        self._created = 0
        self.points: dict[str, dict[Binding, int]] = {}
        """The points that this step makes, by group and values."""
        self.calls: dict[str, int] = {}
        """How many calls of each rule this step makes at once."""

    def command(self) -> int:
        """The next command's number."""
        number = self._command
        self._command += 1
        return number

    # ---- jobs --------------------------------------------------------------------------------------

    def create(
        self,
        group: Group,
        point: int,
        usual: int,
        count: int | None = None,
        values: dict[str, Scalar] | None = None,
        template: int = 0,
        parent: str = "",
    ) -> list[Effect]:
        """Create `count` jobs of a point (None: its `usual` number), as many as `limits.jobs` allows.

        `values` and `template` are those of a point that is new. `parent` is the directory of the job that caused them.
        """
        wanted = usual if count is None else count
        limit = self.state.limits.jobs
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
            effects.insert(0, Create(Span(group.name, point, first, wanted), values, template, parent))
        return effects

    def start(self, names: tuple[str, ...]) -> list[Effect]:
        """Create the jobs of the groups that start by themselves."""
        effects: list[Effect] = []
        for name in names:
            group = self.state.groups[name]
            for point in group.points:
                effects += self.create(group, point.index, self.builder.plan.template(point).count)
        return effects

    def cancel_keys(self, keys: list[str], reason: str) -> list[Effect]:
        """Cancel these jobs with one command for each member."""
        by_member: dict[str, list[tuple[str, int]]] = {}
        for key in keys:
            job = self.state.jobs.get(key)
            if job is not None:
                by_member.setdefault(job.member, []).append((key, job.attempt))
            else:
                # it waits here, where no member knows it
                by_member.setdefault("", []).append((key, 1))
        return [Cancel(self.command(), member, tuple(refs), reason=reason) for member, refs in by_member.items()]

    def cancel_all(self, reason: str) -> list[Effect]:
        """Cancel everything that is with a member."""
        keys = [job.key for job in self.state.jobs.values() if job.code != NEW and not job.cancelling]
        return self.cancel_keys(keys, reason)

    def drain(self, reason: str, limit: str = "") -> list[Effect]:
        """Start nothing new: what waits here is dropped, what waits in a queue is cancelled, what runs goes on."""
        cancels = self.cancel_keys(self._queued(), reason)
        # what is already being ended keeps the reason it is ended for
        return cancels if self.state.dropped else [Drain(reason, limit), *cancels]

    def pause(self) -> list[Effect]:
        """Start nothing new and drop nothing: what waits in a queue is taken back, what runs goes on."""
        return [Pause(), *self.cancel_keys(self._queued(), PAUSE)]

    def _queued(self) -> list[str]:
        """The jobs that wait in their member's queue."""
        return [job.key for job in self.state.jobs.values() if NEW < job.code < RUN and not job.cancelling]

    # ---- rules -------------------------------------------------------------------------------------

    def add_rule(self, rule: dict[str, Any], by: Rule | None, owner: str = "") -> Effect:
        """Add a rule that a function returned, a rule adds or a person asked for, under an id that no other has."""
        wanted = rule.get("id") or ""
        found, number = wanted, 0
        base = wanted or (by.id if by is not None else "added")
        while not found or found in self.state.rule_ids or found in self.state.rules or found in self._ids:
            number += 1
            found = f"{base}+{number}"
        self._ids[found] = None
        return AddRule(found, rule, owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(ActionType):
    """An action: what a file may say of it (`ActionType`), and what it does.

    `effects` works out what one use of it comes to, here and now, and changes nothing. What cannot be done is a `Note`
    that says why.
    """

    effects: Callable[[Context, ActionSpec, Cause], list[Effect]]


def perform(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    """Work out what `action` comes to. What is refused is a `Note` with the reason."""
    kind = find_action(action.name)
    if not isinstance(kind, Action):
        return [Note("unsupported-action", f"there is no action {action.name!r}")]
    draining = context.state.draining
    if draining and not kind.while_draining:
        return [Note("draining", f"{action.name} is refused: nothing new starts, because of {draining!r}")]
    return kind.effects(context, action, cause)
