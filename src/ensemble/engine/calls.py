"""Calls of people's functions: which wait, which are under way, and what each function is given.

Every event that a function rule's trigger names becomes an *occasion*. The occasions of one rule stand in one line and
are worked off in their order, `concurrency` at a time. What a function is given is derived from the state when its
call is issued. It is not in the journal, so a call costs the journal the same however large the study is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, to_builtins
from msgspec.structs import replace

from ensemble.engine.facts import JobFacts, described, facts
from ensemble.engine.impact import Impact
from ensemble.engine.state import State
from ensemble.engine.view import metrics_for_function, points_for_function
from ensemble.model.decisions import Call, CallWaits, DropCalls
from ensemble.model.events import Event, FunctionReturned, RunStarted

if TYPE_CHECKING:
    from ensemble.engine.build import Builder

Takes = Mapping[str, frozenset[str] | None]
"""What each function names in its signature; None where it takes everything."""


class Occasion(Struct, frozen=True, gc=False, array_like=True):
    """What a function is called for. `action` is None where it is that of the rule."""

    function: str
    seq: int = 0
    event: Event | None = None
    job: JobFacts | None = None
    action: dict[str, Any] | None = None


class Line:
    """The occasions of one rule: those that wait, in order, and those whose call has not returned, by command."""

    __slots__ = ("under_way", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Occasion] = deque()
        self.under_way: dict[int, Occasion] = {}


class Calls:
    """Carries out what concerns calls: only `apply` uses it."""

    __slots__ = ("impact", "state")

    def __init__(self, state: State, impact: Impact) -> None:
        self.state = state
        self.impact = impact

    def wait(self, effect: CallWaits) -> None:
        """An occasion joins the line of its rule."""
        line = self.state.lines.setdefault(effect.rule, Line())
        line.waiting.append(self._occasion(effect.function, effect.key, effect.action))

    def begin(self, call: Call) -> None:
        """A call is made, for the first occasion that waits or for the event itself."""
        state = self.state
        line = state.lines.setdefault(call.rule, Line())
        line.under_way[call.id] = (
            line.waiting.popleft() if call.waited else self._occasion(call.function, call.key, call.action)
        )
        state.commands[call.id] = call
        state.next_command = call.id + 1

    def end(self, event: FunctionReturned) -> None:
        """A call returned. The first failure that is not to be ignored is the run's."""
        state = self.state
        call = state.commands.pop(event.command)
        assert isinstance(call, Call)
        line = state.lines[call.rule]
        occasion = line.under_way.pop(event.command)
        if not line.under_way and not line.waiting:
            del state.lines[call.rule]
        if event.error and not state.function_error and self._on_error(call.rule, occasion) != "ignore":
            state.function_error = event.error

    def drop(self, effect: DropCalls) -> None:
        """What waits is called no more."""
        for rule, line in list(self.state.lines.items()):
            line.waiting.clear()
            if not line.under_way:
                del self.state.lines[rule]

    def _on_error(self, rule: str, occasion: Occasion) -> str:
        if occasion.action is not None:
            return str(occasion.action.get("on_error", ""))
        return self.state.rules[rule].action.on_error if rule in self.state.rules else ""

    def _occasion(self, function: str, key: str, action: dict[str, Any] | None) -> Occasion:
        event = self.impact.event
        if isinstance(event, RunStarted):
            # the whole file is no part of the event, and the state need not hold it twice
            event = replace(event, spec={})
        job = self.impact.job(key) or self.state.jobs.get(key)
        return Occasion(function, self.state.seq, event, facts(job) if job is not None else None, action)


def room(state: State, rule: str, concurrency: int) -> int:
    """How many more calls of a rule may be made now."""
    line = state.lines.get(rule)
    return concurrency if line is None else concurrency - len(line.under_way)


def given_up(state: State) -> bool:
    """Whether calls are not made any more, for the run is being cancelled. While it drains they are."""
    reason = state.draining
    return reason in ("terminate", "request-cancel") or (reason == "limit" and state.limits.on_limit == "cancel")


# ---- what a function is given ----------------------------------------------------------------------


def arguments(state: State, builder: Builder, call: Call, takes: Takes) -> dict[str, Any]:
    """What a function is given as of now, as plain data: of the costly parts only those that it names."""
    line = state.lines.get(call.rule)
    occasion = line.under_way.get(call.id) if line is not None else None
    if occasion is None or occasion.event is None:
        # a call that an earlier version had journaled with all that it was given
        return call.args
    rule = state.rules.get(call.rule)
    names = takes.get(occasion.function)
    given: dict[str, Any] = {
        "job": described(state, builder, occasion.job) if occasion.job is not None else None,
        "event": to_builtins(occasion.event),
        "action": occasion.action
        if occasion.action is not None
        else to_builtins(rule.action if rule is not None else {}),
        "rule": to_builtins(rule.spec) if rule is not None else None,
        "binding": dict(rule.binding) if rule is not None else {},
        "now": state.now,
    }
    if names is None or "metrics" in names:
        given["metrics"] = metrics_for_function(state)
    if names is None or "points" in names:
        given["points"] = points_for_function(state)
    return given


# ---- snapshots ---------------------------------------------------------------------------------------


def lines_plain(state: State) -> list[Any]:
    """The lines as data for JSON."""
    return [
        [rule, to_builtins(list(line.waiting)), [[number, to_builtins(one)] for number, one in line.under_way.items()]]
        for rule, line in state.lines.items()
    ]


def restore_lines(data: list[Any], state: State) -> None:
    """Lay the lines of a snapshot over a state whose open commands are there again."""
    for rule, waiting, under_way in data:
        line = state.lines[rule] = Line()
        line.waiting.extend(convert(waiting, list[Occasion]))
        line.under_way = {number: convert(one, Occasion) for number, one in under_way}
    for command in state.commands.values():
        if isinstance(command, Call) and command.rule not in state.lines:
            # a snapshot of an earlier version, which kept no lines
            state.lines[command.rule] = Line()
            state.lines[command.rule].under_way[command.id] = Occasion(command.function)


__all__ = [
    "Calls",
    "Line",
    "Occasion",
    "Takes",
    "arguments",
    "given_up",
    "lines_plain",
    "restore_lines",
    "room",
]
