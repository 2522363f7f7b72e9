"""What the engine decides: steps, each with its effects, and the record that holds them.

A `Decision` is a list of steps in the order they were taken. `apply` carries out each effect on the
state; the runtime sends those that are commands (they have an `id`) once the record is durable.
"""

from __future__ import annotations

__all__ = [
    "CANCEL_GRACE",
    "AddRule",
    "Avoid",
    "Call",
    "CallWaits",
    "Cancel",
    "Change",
    "Create",
    "Discard",
    "Drain",
    "DropCalls",
    "Effect",
    "End",
    "Finish",
    "Firing",
    "Held",
    "Keyed",
    "MemberSize",
    "Note",
    "Record",
    "Remember",
    "Resize",
    "Retry",
    "Span",
    "Step",
    "StopMember",
    "Submit",
    "SwitchAlgorithm",
    "Upkeep",
]

from typing import Any, Final, Union

from msgspec import Struct

from ensemble.model.events import Event
from ensemble.model.jobs import Scalar

CANCEL_GRACE: Final = 10.0
"""Seconds between the polite signal and the last one."""


class Span(Struct, frozen=True, gc=False, array_like=True):
    """`count` jobs of one group and point with consecutive numbers from `first`, all of one attempt."""

    group: str
    point: int
    first: int
    count: int
    attempt: int = 1


class Create(Struct, frozen=True, gc=False, tag="create", omit_defaults=True):
    """Jobs are created, in state `new`. `values`: the axes of a point not known before, else None.
    `template`: which of the file's entries of that group the point belongs to. `parent`: the directory of the job
    that caused these, relative to that of the run where it is inside it; empty where their texts do not ask for it."""

    span: Span
    values: dict[str, Scalar] | None = None
    template: int = 0
    parent: str = ""


class Submit(Struct, frozen=True, gc=False, tag="submit", omit_defaults=True):
    """Command: hand these jobs, in this order, to a member."""

    id: int
    member: str
    spans: tuple[Span, ...]


class Cancel(Struct, frozen=True, gc=False, tag="cancel", omit_defaults=True):
    """Command: cancel these attempts, with `grace` seconds between the polite signal and the last one.
    Jobs that are still `new` never reach a member: they become cancelled by this effect at once."""

    id: int
    member: str
    refs: tuple[tuple[str, int], ...]
    grace: float = CANCEL_GRACE
    reason: str = ""


class Resize(Struct, frozen=True, gc=False, tag="resize", omit_defaults=True):
    """Command: bring a member to `nodes` nodes (an absolute target)."""

    id: int
    member: str
    nodes: int


class Call(Struct, frozen=True, gc=False, tag="call", omit_defaults=True):
    """Command: call a custom function for the first event that waits in its rule's queue (`waited`), or for the
    present event and its job `key`. `action`: where it is not the rule's own. What the function is given is derived
    from the state; `args` holds it only in journals of version 0.1."""

    id: int
    function: str
    rule: str
    args: dict[str, Any] = {}
    key: str = ""
    action: dict[str, Any] | None = None
    waited: bool = False


class CallWaits(Struct, frozen=True, gc=False, tag="call-waits", omit_defaults=True):
    """A function is to be called for the present event and its job `key` once the calls before it have returned."""

    function: str
    rule: str
    key: str = ""
    action: dict[str, Any] | None = None


class DropCalls(Struct, frozen=True, gc=False, tag="drop-calls", omit_defaults=True):
    """The calls that wait are not made: the run is being cancelled."""


class StopMember(Struct, frozen=True, gc=False, tag="stop-member", omit_defaults=True):
    """Command: close a member. `mode`: drain, detach, cancel."""

    id: int
    member: str
    mode: str = "drain"


class Retry(Struct, frozen=True, gc=False, tag="retry", omit_defaults=True):
    """A failed attempt gets a successor: `attempt` not before `after` (on the engine's clock)."""

    key: str
    attempt: int
    after: float = 0.0
    spent: bool = True
    elsewhere: str = ""


class Finish(Struct, frozen=True, gc=False, tag="finish", omit_defaults=True):
    """The last attempt of a job is over: the job's outcome, where the event alone does not give it."""

    key: str
    outcome: str
    reason: str = ""


class Discard(Struct, frozen=True, gc=False, tag="discard", omit_defaults=True):
    """Jobs of a group (and a point, -1: all) that are still `new` are over: cancelled, or what `outcome` says. No
    member ever saw them."""

    group: str
    point: int = -1
    reason: str = ""
    outcome: str = "cancelled"


class AddRule(Struct, frozen=True, gc=False, tag="add-rule", omit_defaults=True):
    """A rule is added after the others; `rule` is a rule of the file format as plain data."""

    id: str
    rule: dict[str, Any]
    owner: str = ""


class MemberSize(Struct, frozen=True, gc=False, array_like=True):
    """Nodes of a member at the start, the fewest and the most (0: no bound)."""

    member: str
    nodes: int
    min_nodes: int
    max_nodes: int


class Change(Struct, frozen=True, gc=False, tag="change", omit_defaults=True):
    """What a changed file says of a run that goes on: other `limits` (None: as before), rules that are there no more
    (by id) and members of other sizes. Rules that are new follow as `AddRule`."""

    limits: dict[str, Any] | None = None
    removed: tuple[str, ...] = ()
    sizes: tuple[MemberSize, ...] = ()


class SwitchAlgorithm(Struct, frozen=True, gc=False, tag="switch", omit_defaults=True):
    """The rules of the present algorithm are removed. Those of another follow, each as an `AddRule`."""

    name: str
    options: dict[str, Any] = {}


class Avoid(Struct, frozen=True, gc=False, tag="avoid", omit_defaults=True):
    """No later job goes to these hosts."""

    hosts: tuple[str, ...]


class Drain(Struct, frozen=True, gc=False, tag="drain", omit_defaults=True):
    """Nothing new is submitted; jobs already with a member go on. `limit` names the limit, if one."""

    reason: str
    limit: str = ""
    drop: bool = True


class Pause(Struct, frozen=True, gc=False, tag="pause", omit_defaults=True):
    """No job starts until `on` is false; what waits is kept. A request for `drain` has this effect."""

    on: bool = True


class End(Struct, frozen=True, gc=False, tag="end", omit_defaults=True):
    """The ensemble is over. `outcome`: success, failed, limit, cancelled, terminated, stopped."""

    outcome: str
    reason: str = ""


class Remember(Struct, frozen=True, gc=False, tag="remember", omit_defaults=True):
    """An algorithm's own memory, kept in the engine's state under its name; replaces what was there."""

    owner: str
    data: dict[str, Any]


class Keyed(Struct, frozen=True, gc=False, tag="keyed", omit_defaults=True):
    """The jobs that a request under this key made. The same key again gives them and does nothing."""

    key: str
    spans: tuple[Span, ...] = ()


class Note(Struct, frozen=True, gc=False, tag="note", omit_defaults=True):
    """A named remark for people: an illegal transition, a missing output, a limit, an action a member lacks."""

    name: str
    text: str
    key: str = ""


Effect = Union[
    Create,
    Submit,
    Cancel,
    Resize,
    Call,
    CallWaits,
    DropCalls,
    StopMember,
    Retry,
    Finish,
    Discard,
    AddRule,
    Change,
    SwitchAlgorithm,
    Avoid,
    Drain,
    Pause,
    End,
    Remember,
    Keyed,
    Note,
]


class Firing(Struct, frozen=True, gc=False, tag="fired", omit_defaults=True):
    """A rule fired. `why` holds each value its condition read (None: unknown)."""

    rule: str
    why: dict[str, float | None] = {}
    effects: tuple[Effect, ...] = ()


class Held(Struct, frozen=True, gc=False, tag="held", omit_defaults=True):
    """A rule matched and did not fire. `by`: backoff (`left` matches still to skip), cooldown (until `until`), ending
    (the first of its matches after which nothing new starts)."""

    rule: str
    by: str
    left: int = 0
    until: float = 0.0


class Upkeep(Struct, frozen=True, gc=False, tag="upkeep", omit_defaults=True):
    """What no rule asked for: jobs released to a member, retries, limits, the end."""

    effects: tuple[Effect, ...]
    cause: str = ""


Step = Union[Firing, Held, Upkeep]


class Record(Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of the journal: an event and what was decided on it.

    `seq` counts from 1 without gaps over the whole run; `at` is the engine's clock in seconds since the
    Unix epoch (virtual in a simulation) and never decreases.
    """

    seq: int
    at: float
    event: Event
    steps: tuple[Step, ...] = ()
