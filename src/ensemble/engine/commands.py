"""Commands: complete as they leave the engine, and which rule waits for which answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from ensemble.engine.build import Builder
from ensemble.engine.calls import Takes, arguments
from ensemble.engine.impact import Impact
from ensemble.engine.rules import park, unpark
from ensemble.engine.state import State
from ensemble.engine.transitions import INACTIVE, NEW
from ensemble.model.decisions import Call, Cancel, Record, Resize, Span, StopMember, Submit
from ensemble.model.jobs import JobSpec, Scalar
from ensemble.spec.render import Renderer


class Batch(Struct, frozen=True, gc=False):
    """`count` jobs of one point with consecutive numbers from `first`, and all that their descriptions depend on."""

    group: str
    point: int
    template: int
    values: dict[str, Scalar]
    first: int
    count: int
    attempt: int
    avoid: tuple[str, ...]
    parent: str = ""

    def refs(self) -> Iterator[tuple[str, int]]:
        """(key, attempt) of each job, in order."""
        for number in range(self.first, self.first + self.count):
            yield f"{self.group}-{number}", self.attempt


class Submission:
    """A `Submit` that is complete: the descriptions of its jobs can be made from it alone, at any later time.

    It holds ranges and not jobs, so that a million jobs in it take no more room than the ranges do.
    """

    __slots__ = ("_renderer", "batches", "id", "member")

    def __init__(self, number: int, member: str, batches: tuple[Batch, ...], renderer: Renderer) -> None:
        """`number` is the command's id."""
        self.id = number
        self.member = member
        self.batches = batches
        self._renderer = renderer

    def refs(self) -> Iterator[tuple[str, int]]:
        """(key, attempt) of each job, in order."""
        for batch in self.batches:
            yield from batch.refs()

    def jobs(self) -> list[JobSpec]:
        """The full description of each job, in order. Raises `InputError` when one cannot be made."""
        return [job for batch in self.batches for job in self.describe(batch)]

    def describe(self, batch: Batch) -> list[JobSpec]:
        """The full description of each job of a batch, or of a part of one. Raises `InputError`."""
        render = self._renderer.render
        return [
            render(batch.group, batch.template, batch.values, key, batch.attempt, batch.avoid, batch.parent)
            for key, _ in batch.refs()
        ]

    def parts(self, most: int) -> Iterator[Submission]:
        """The same in pieces of at most `most` jobs."""
        batches: list[Batch] = []
        room = most
        for batch in self.batches:
            first, left = batch.first, batch.count
            while left:
                count = min(left, room)
                batches.append(replace(batch, first=first, count=count))
                first, left, room = first + count, left - count, room - count
                if not room:
                    yield Submission(self.id, self.member, tuple(batches), self._renderer)
                    batches, room = [], most
        if batches:
            yield Submission(self.id, self.member, tuple(batches), self._renderer)


Command = Submission | Cancel | Resize | Call | StopMember


def commands_of(record: Record, state: State, builder: Builder, takes: Takes) -> list[Command]:
    """The commands of a record that was just decided on, in order, each complete."""
    found: list[Command] = []
    for step in record.steps:
        for effect in getattr(step, "effects", ()):
            if isinstance(effect, Submit):
                found.append(_complete(effect.id, effect.member, effect.spans, state, builder))
            elif isinstance(effect, Call):
                found.append(replace(effect, args=arguments(state, builder, effect, takes)))
            elif isinstance(effect, Cancel | Resize | StopMember):
                found.append(effect)
    return found


def open_commands(state: State, builder: Builder, takes: Takes, member: str = "") -> list[Command]:
    """Everything asked for and not answered, in the order in which it was asked; of one member, or of everybody.

    Of a submission, the jobs that are still to run. Cancels are answered by the end of their jobs, so they are asked
    again for those that have not ended.
    """
    found: list[Command] = []
    for command in state.commands.values():
        if isinstance(command, Submit):
            if member in ("", command.member):
                spans = tuple(span for one in command.spans for span in _still_to_run(one, state))
                found.append(_complete(command.id, command.member, spans, state, builder))
        elif isinstance(command, Call):
            if not member:
                found.append(replace(command, args=arguments(state, builder, command, takes)))
        elif member in ("", command.member):
            found.append(command)
    by_member: dict[str, list[tuple[str, int]]] = {}
    for job in state.jobs.values():
        if job.cancelling and NEW < job.code < INACTIVE and member in ("", job.member):
            by_member.setdefault(job.member, []).append((job.key, job.attempt))
    found += [Cancel(0, name, tuple(refs), reason="resume") for name, refs in by_member.items()]
    return found


def _complete(number: int, member: str, spans: tuple[Span, ...], state: State, builder: Builder) -> Submission:
    batches = []
    for span in spans:
        point = state.groups[span.group].points[span.point]
        avoid = state.avoid
        job = state.jobs.get(f"{span.group}-{span.first}")
        if job is not None and job.avoid:
            # hosts of its own has only a job that is tried again, which is a range by itself
            avoid += job.avoid
        for first, count, parent in _by_parent(span, state.groups[span.group].parents):
            batches.append(
                Batch(span.group, span.point, point.template, point.values, first, count, span.attempt, avoid, parent)
            )
    return Submission(number, member, tuple(batches), builder.renderer)


def _by_parent(span: Span, parents: Mapping[int, str]) -> Iterator[tuple[int, int, str]]:
    """The ranges (first, count, parent) of those jobs that were caused by the same job."""
    if not parents:
        yield span.first, span.count, ""
        return
    numbers = range(span.first, span.first + span.count)
    for parent, same in groupby(numbers, lambda number: parents.get(number, "")):
        first, *rest = same
        yield first, 1 + len(rest), parent


def _still_to_run(span: Span, state: State) -> Iterator[Span]:
    """The ranges of those jobs whose attempt is with a member and not over."""
    first = count = 0
    for number in range(span.first, span.first + span.count):
        job = state.jobs.get(f"{span.group}-{number}")
        if job is not None and job.attempt == span.attempt and job.code != NEW:
            first = first if count else number
            count += 1
        elif count:
            yield Span(span.group, span.point, first, count, span.attempt)
            count = 0
    if count:
        yield Span(span.group, span.point, first, count, span.attempt)


class Commands:
    """Opens and closes commands. A rule whose command is open is not considered."""

    __slots__ = ("impact", "state")

    def __init__(self, state: State, impact: Impact) -> None:
        self.state = state
        self.impact = impact

    def bind(self, rule: str, command: int) -> None:
        """A rule waits for a command of its action."""
        self.state.calls[command] = rule
        self.state.rules[rule].open += 1
        park(self.state.rules[rule])

    def open(self, command: Resize) -> None:
        """An answer is awaited."""
        self.state.commands[command.id] = command
        self.state.next_command = command.id + 1

    def close(self, command: int) -> bool:
        """An answer came: whether it was still awaited."""
        if self.state.commands.pop(command, None) is None:
            return False
        self.release(command)
        return True

    def release(self, command: int) -> None:
        """The rule that waited for a command may be considered again."""
        state = self.state
        rule = state.rules.get(state.calls.pop(command, ""))
        if rule is not None:
            rule.open -= 1
            unpark(rule)

    def close_all_of(self, member: str) -> None:
        """No answer will come from a member any more."""
        state = self.state
        for command in [one for one in state.commands.values() if not isinstance(one, Call) and one.member == member]:
            self.close(command.id)
