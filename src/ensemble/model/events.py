"""Facts that reach the engine. Each becomes one journal record together with what was decided on it.

An event has no time of its own on the engine's clock: `Record.at` is that, stamped by the runtime.
`time` is the source's own clock; a duration is the difference of two times of one source's clock.
`n` is the event's number in its member's stream (from 1; 0: not from a stream). Duplicates are dropped by it.
"""

from __future__ import annotations

__all__ = [
    "Event",
    "Fault",
    "FunctionReturned",
    "JobEvent",
    "MemberEvent",
    "NativeEvent",
    "Requested",
    "ResizeDone",
    "RunResumed",
    "RunStarted",
    "SubmitAnswered",
    "TimerFired",
]

from typing import Any, Union

from msgspec import Struct

from ensemble.model.jobs import Scalar


class RunStarted(Struct, frozen=True, gc=False, tag="start", omit_defaults=True):
    """The first record of a run. `spec` is the checked file as plain data, so the journal stands alone.

    `script` and `script_sha256` name the Python script that built the ensemble, where one did. `held`: it does not end
    by itself until a request releases it, for a script goes on submitting.
    """

    run: str
    spec: dict[str, Any]
    version: str
    seed: int = 0
    run_dir: str = ""
    by: str = ""
    source: str = ""
    script: str = ""
    script_sha256: str = ""
    host: str = ""
    held: bool = False


class RunResumed(Struct, frozen=True, gc=False, tag="resume", omit_defaults=True):
    """A new writer took over; decisions from here on are of `version`. `held` as in `RunStarted`. A run that was paused
    goes on, unless it is to stay `paused`."""

    epoch: int
    version: str
    by: str = ""
    host: str = ""
    held: bool = False
    paused: bool = False


class JobEvent(Struct, frozen=True, gc=False, tag="job", omit_defaults=True):
    """A job reached `state`. With `inactive` comes how it ended.

    `exit_code` 0..255, -1 unknown; `signal` 0 none. `figures` are what `outputs` read; `missing` names
    those that did not match. `start` is the time on the member's clock when it began to run, where the
    member knows it only at the end. `native_id`, `hosts` where first known.
    """

    member: str
    key: str
    state: str
    time: float = 0.0
    n: int = 0
    attempt: int = 1
    incarnation: int = 0
    outcome: str = ""
    reason: str = ""
    exit_code: int = -1
    signal: int = 0
    start: float = 0.0
    figures: dict[str, float] | None = None
    missing: tuple[str, ...] = ()
    native_id: str = ""
    hosts: str = ""
    text: str = ""


class NativeEvent(Struct, frozen=True, gc=False, tag="native", omit_defaults=True):
    """An event of the queue under its own name (Flux RFC 21 names); never dropped by name."""

    member: str
    key: str
    name: str
    time: float = 0.0
    n: int = 0
    attempt: int = 1
    data: dict[str, Any] = {}


class MemberEvent(Struct, frozen=True, gc=False, tag="member", omit_defaults=True):
    """Something about a member itself.

    `name`: `open` (a new stream began; `stream` names it and `n` restarts), `up`, `down` (unreachable; jobs
    go on), `nodes` (sizes changed), `resize` (it asks whoever can to bring it to `nodes_wanted` nodes),
    `provisioning` (nodes are on their way; `text` says how many, and what they wait for), `resize-failed` (it stays at
    the size that it has; `text` says why),
    `inventory` (a complete inventory was taken; open refs of `attempt`s not among `known` are proven gone),
    `closed`, `gone` (given up by policy), `fault`.
    -1 means unknown for the counts. `waiting`: why this run's jobs wait in the queue, in the queue's own words, and how
    many wait for each reason; it replaces what was sent before. None: unchanged.
    """

    member: str
    name: str
    time: float = 0.0
    n: int = 0
    stream: str = ""
    nodes_up: int = -1
    nodes_free: int = -1
    cores_up: int = -1
    cores_free: int = -1
    gpus_up: int = -1
    cores_per_node: int = 0
    capabilities: tuple[str, ...] = ()
    gone: tuple[tuple[str, int], ...] = ()
    unsent: tuple[tuple[str, int], ...] = ()
    queue: dict[str, int] | None = None
    text: str = ""
    nodes_wanted: int = -1
    waiting: dict[str, int] | None = None


class SubmitAnswered(Struct, frozen=True, gc=False, tag="answer", omit_defaults=True):
    """A member answered a `Submit`: all its jobs were accepted but for those named here.

    `refused`: (key, attempt, reason, transient). `unknown`: (key, attempt): no answer, may or may not run.
    """

    command: int
    member: str
    refused: tuple[tuple[str, int, str, bool], ...] = ()
    unknown: tuple[tuple[str, int], ...] = ()


class ResizeDone(Struct, frozen=True, gc=False, tag="resized", omit_defaults=True):
    """A `Resize` ended: `nodes` is the size now; `error` says why not, where it failed."""

    command: int
    member: str
    nodes: int = -1
    error: str = ""


class FunctionReturned(Struct, frozen=True, gc=False, tag="returned", omit_defaults=True):
    """A custom function answered. `results` are actions or rules as plain data, already validated by
    the runtime against the file format; `error` (one line) and `detail` (the traceback) where it failed.
    `fault`: raised, hung, died, nonsense."""

    command: int
    results: tuple[dict[str, Any], ...] = ()
    error: str = ""
    fault: str = ""
    detail: str = ""


class TimerFired(Struct, frozen=True, gc=False, tag="timer", omit_defaults=True):
    """The time at which the engine asked to be woken has come (intervals, cooldowns, retry delays, limits)."""

    heartbeat: bool = False


class Requested(Struct, frozen=True, gc=False, tag="request", omit_defaults=True):
    """A person or program asked: `what` is pause, cancel (all), terminate, cancel-jobs, add-rule, change (`action`
    holds what a changed file says), release (the run may end), or an action of the file format in `action`. (`drain`,
    of version 0.1.0, drops what waits.)

    `id` names the request, so that whoever asked finds its answer. What was done under a `key` is not done again: the
    jobs that it made are the answer to the same key.
    """

    what: str
    by: str = ""
    keys: tuple[str, ...] = ()
    action: dict[str, Any] | None = None
    id: str = ""
    key: str = ""


class Fault(Struct, frozen=True, gc=False, tag="fault", omit_defaults=True):
    """Something went wrong around the engine: `name` such as disk-full, terminal-gone, stale-writer."""

    name: str
    text: str = ""
    data: dict[str, Scalar] = {}


Event = Union[
    JobEvent,
    RunStarted,
    RunResumed,
    NativeEvent,
    MemberEvent,
    SubmitAnswered,
    ResizeDone,
    FunctionReturned,
    TimerFired,
    Requested,
    Fault,
]
