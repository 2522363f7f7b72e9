"""The contract between the runtime and a queue back end: what each promises the other.

A *member* takes jobs, runs or queues them, and reports what happens to them by events. Every promise stands in the
docstring of the call or type that it concerns; `ensemble.testing.MemberConformance` checks them. `docs/members.md` has
an example.

What holds for all calls:

* Calls are coroutines of one event loop, and none blocks it. A call may be cancelled at any `await`.
* Many calls may be under way at once, except for `open` and `close`: while one of these runs, the runtime starts no
  other call.
* A call raises `MemberError`; its `transient` says whether the same call may succeed later. The message is for the
  person who runs the ensemble. Any other exception is a bug in the member: the runtime reports it, counts the member as
  `down` and opens it again.
* A call that carries out a command (`submit`, `cancel`, `resize`, a page of `inventory`) is given up after 300 s
  without an answer: the member is closed with `detach` and opened again. `close` is given 60 s, and 1 s when the run
  must be left at once.
* A member that notices sooner that its queue does not answer puts `MemberEvent("down")`; the runtime then opens it
  again until it answers.
* "The queue cannot be reached" is a state of the member (`MemberEvent("down")`), never an outcome of a job.
"""

from __future__ import annotations

__all__ = [
    "CAPABILITIES",
    "Accepted",
    "CloseMode",
    "Context",
    "Hello",
    "InventoryItem",
    "Member",
    "MemberFactory",
    "Observation",
    "Observe",
    "Page",
    "Receipt",
    "Refused",
    "Sink",
    "Unknown",
]

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import AttemptRef, JobSpec

CloseMode = Literal["drain", "detach", "cancel"]
"""How a member is closed; see `Member.close`."""

CAPABILITIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "exactly-once": "a ref never runs twice, whoever crashes",
        "durable": "jobs outlive the engine's process, and a new member object finds them",
        "absence-is-proof": "a ref that a complete inventory does not name is gone",
        "resize": "`resize` grows and shrinks; the nodes are paid for while they are held",
        "own-nodes": "nobody but this run changes the member's nodes, so a job that they cannot hold never fits",
        "gpus": "a job sees only its own GPUs",
        "figures": "`JobSpec.outputs` are read",
        "walltime": "`JobSpec.walltime` is enforced",
        "native-events": "the queue's own events are sent as `NativeEvent`",
        "reasons": "`MemberEvent.waiting` says why jobs wait",
    }
)
"""What a member may claim in `Hello.capabilities`. Each must hold after a crash, too. What is not claimed is not asked
for."""


class Accepted(Struct, frozen=True, gc=False, tag="accepted"):
    """The queue has the job. `native_id` may be empty when the queue names it later, by event."""

    native_id: str = ""


class Refused(Struct, frozen=True, gc=False, tag="refused"):
    """The queue does not take the job. `transient`: the very same job may be taken later."""

    reason: str
    transient: bool = False


class Unknown(Struct, frozen=True, gc=False, tag="unknown"):
    """Nobody knows whether the queue has the job. The runtime finds out by an inventory."""

    reason: str = ""


Receipt = Accepted | Refused | Unknown


class Sink(Protocol):
    """Where a member puts its events."""

    async def put(self, events: Sequence[JobEvent | NativeEvent | MemberEvent]) -> int:
        """Take events in order; return the last `n` that is durable in the run's journal.

        The call waits while the engine is behind. A member keeps an event until a `put` has returned its number: what
        was not taken is put again into the next sink. It never drops events because the sink is slow, and it answers
        commands meanwhile.

        Only one `put` may be under way at a time, from one task, or the order is lost.

        Every event of the stream has a number `n`: 1, 2, 3, ... without gaps. Only `MemberEvent("down")` from a member
        that has lost its queue may have `n=0`. Events of one attempt come in the order in which they happened, along
        the states `submitted depend sched run cleanup inactive`. A member may leave states out, but never go back.

        Each accepted attempt ends with exactly one `inactive` event per incarnation, with an `outcome` and a `reason`
        (the table is in `docs/members.md`). A restart of the job by the queue itself raises `JobEvent.incarnation`.

        `JobEvent.time` is in seconds on one clock of the queue: durations are differences of it.
        """
        ...


class Context(Struct, frozen=True):
    """What a member gets when it is opened.

    * `run`, `run_dir`: name and absolute directory of the run; `name`: the member's name in the file.
    * `epoch`: the number of the writer. A member that has seen a higher one raises `MemberError` and leaves the newer
      writer undisturbed. This keeps two engines of one run apart.
    * `sink`: where events go.
    * `options`: the member's options in the file.
    * `nodes`, `min_nodes`, `max_nodes`: the size asked for and its bounds (0: no bound); `cores`, `gpus`: of each node
      (0 cores: what there is).
    * `stream`, `position`: the stream that the engine knows and the last `n` of it that is durable; empty and 0 in a
      new run.
    * `resumed`: jobs of this run may already be in the queue.
    * `wanted`: names of native events that rules wait for (`*`: all).
    * `seed`: of the run, for members that draw random numbers.
    """

    run: str
    name: str
    run_dir: str
    epoch: int
    sink: Sink
    options: dict[str, Any] = {}
    nodes: int = 1
    min_nodes: int = 0
    max_nodes: int = 0
    cores: int = 0
    gpus: int = 0
    stream: str = ""
    position: int = 0
    resumed: bool = False
    wanted: tuple[str, ...] = ()
    seed: int = 0


class Hello(Struct, frozen=True):
    """A member's answer to `open`.

    `stream` names the unbroken numbering of its events. Where it equals `Context.stream`, the same stream goes on after
    `Context.position`: no event comes again and none is left out. Another name means that numbering begins at 1 and
    that `Context.position` says nothing; the runtime then takes an inventory. Make the name unique, such as
    `<member>@<epoch>-<random>`.

    -1 (0 for `cores_per_node`): not known. `text` is for people.
    """

    capabilities: frozenset[str]
    stream: str
    nodes_up: int = -1
    nodes_free: int = -1
    cores_up: int = -1
    cores_free: int = -1
    gpus_up: int = -1
    cores_per_node: int = 0
    text: str = ""


class Observation(Struct, frozen=True):
    """What a queue has, whoever's jobs they are: `nodes` as in the message `NodeCounts`, `queue` as in `QueueCounts` of
    `proto/ensemble/v1/model.proto`."""

    nodes: dict[str, int]
    queue: dict[str, int]


Observe = Callable[[Callable[[Observation | None], None]], Awaitable[None]]
"""Watches a queue until it is cancelled, and calls what it is given whenever the queue has changed; with None while
nobody answers there. It raises nothing."""


class InventoryItem(Struct, frozen=True, gc=False):
    """One attempt that the back end knows: its present state and, when it has ended, its last event."""

    ref: AttemptRef
    state: str
    native_id: str = ""
    event: JobEvent | None = None


class Page(Struct, frozen=True):
    """Part of an inventory. On the last page `last` is true; `complete` then says whether a ref that no page named is
    proven to be absent, and `text` why it is not."""

    items: tuple[InventoryItem, ...]
    last: bool = False
    complete: bool = False
    text: str = ""


class Member(Protocol):
    """A queue back end.

    What a kind of member can do is said by attributes of its class (all optional), so that `ensemble check` knows it
    before anything is opened:

    * `group_options`: names of the options that a group's jobs may have here. Without it, nothing is said of them.
    * `needed_options`: those without which it refuses a job, unless the member has them itself.
    * `launchers`: the values of a group's `launcher` that the member carries out, besides `auto`. Without it, any.
    * `fixed_size`: true where its size is the queue's own business, so that it can be neither grown nor shrunk.
    * `own_nodes`: true where nobody but the run changes its nodes. The runtime then adds the capability `own-nodes`.
    * `simulated_as`: options of the simulated queue that stands for this kind in `ensemble simulate`.
    * `observe`: a static method (`Observe`) by which an agent learns what the queue has before any run has opened it.
    """

    async def open(self, context: Context) -> Hello:
        """Connect to the queue, or connect again, and begin to send events.

        It is the first call, and it comes again, with a new context, after the member was down or closed; what is left
        of the former opening is let go first. Events may be put before it returns.

        Raises `MemberUnavailable` where the queue can never be used from here (it is not installed), `MemberError`
        with `transient` where it may be later, and `MemberError` for bad options and for an epoch that is over.
        """
        ...

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Hand over jobs; return one receipt each, in order.

        `Accepted` means that the queue has the job and that it survives a crash of ours. An event of the job that comes
        before the receipt is acceptance, too.

        `batch` is the id of the command: the same batch sent twice is answered the same and runs once. So is a ref that
        is known from another batch: `AttemptRef` is the identity of an attempt, and it must travel with the job into
        the queue (a comment, a label, a name made from it), so that it is found again when the member's own memory is
        gone. A retry is another attempt, never the same ref. A member that cannot promise that a ref runs at most once
        lacks the capability `exactly-once`.

        Raises `MemberError` with `transient` when the queue cannot be reached: the runtime sends the batch again.
        """
        ...

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """End attempts: SIGTERM at once, SIGKILL after `grace` seconds; jobs that wait leave the queue.

        Returns once the queue knows; the ends come as events, with the outcome `cancelled` unless the job had ended by
        itself. A ref that is unknown or has ended is `Accepted`, and nothing is done. The call may come again for the
        same refs. A cancel of one attempt does not touch the next.

        Raises `MemberError` with `transient` when the queue cannot be reached.
        """
        ...

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Bring the member to `nodes` nodes (a target, not a difference).

        `Accepted` means that it is under way: each change is reported by `MemberEvent("nodes")`. A later call replaces
        an earlier one. Running jobs are never killed: a busy node leaves when its jobs have ended. `Refused` where the
        member cannot do this, or not beyond its bounds. A member that gives up by itself puts
        `MemberEvent("resize-failed")` with the reason.
        """
        ...

    def inventory(self) -> AsyncIterator[Page]:
        """Every attempt of this run that the back end knows: queued, running, and ended with its last event.

        Exactly one page is `last`, at the end. No attempt stands on two pages. Several inventories may be under way.
        Raises `MemberError` with `transient` when the queue cannot be reached.
        """
        ...

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Return at most `limit` bytes, from byte `offset`, of `stdout`, `stderr` or a file below the job's directory.

        `b""` past the end. Raises `MemberError` for a file that is not there and for one outside the directory.
        """
        ...

    async def close(self, mode: CloseMode) -> None:
        """Close the connection to the queue; after it returns no `put` is under way and none follows.

        * `drain`: wait until all jobs have ended.
        * `cancel`: end all jobs. As with `drain`, their ends are put before the call returns.
        * `detach`: leave everything running for a later `open`.
        """
        ...


class MemberFactory(Protocol):
    """What an entry point in the group `ensemble.members` names: it makes an unopened member."""

    def __call__(self) -> Member:
        """Make a member. It connects, starts and imports nothing slow before `open`."""
        ...
