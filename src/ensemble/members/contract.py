"""The contract between the runtime and a queue back end.

A member accepts jobs, runs or queues them, and tells what happens to them by events. The rules that
every member keeps, and that `ensemble.testing.conformance` checks:

* **Events, never polling by the engine.** A member calls `context.sink.put(events)`; the call returns
  when the events have a durable place in the journal, and blocks (credit) while the engine is behind.
* **Order.** Events of one attempt are put in the order in which they happened. `JobEvent.n` rises by one
  from 1 over the member's stream; the stream's name is given by `Hello.stream`. After a restart of the
  *engine* a member whose own process lived on keeps the stream and goes on from `Context.position`.
* **Acceptance.** `Accepted` means: the queue holds the job and it survives our crash. An event that comes
  before the receipt is acceptance too. `Refused(transient=True)` may be sent again later,
  `Refused(transient=False)` never will be. `Unknown` means nobody knows: only an inventory can tell.
* **Exactly one execution.** Submitting a ref that the member already knows is accepted and does nothing.
  A back end that cannot promise that a ref runs at most once lacks the capability `exactly-once`.
* **Ends.** Each accepted attempt ends with exactly one `inactive` event per incarnation, whose `outcome`
  is success (exit code 0), failed, cancelled or lost; `valid` is not the member's business.
* **Cancel** of an unknown or finished ref is accepted and does nothing. A cancelled job's event says
  `cancelled` unless it had ended by itself before.
* **Errors.** A call raises `MemberError`; `transient` says whether the same call may succeed later. Whatever
  else is raised is a bug and puts the member `down`.
"""

from __future__ import annotations

__all__ = [
    "Accepted",
    "CloseMode",
    "Context",
    "Hello",
    "InventoryItem",
    "JobChange",
    "Member",
    "MemberFactory",
    "Page",
    "Receipt",
    "Refused",
    "Sink",
    "Unknown",
]

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import AttemptRef, JobSpec

CloseMode = Literal["drain", "detach", "cancel"]
"""drain: wait for what runs; detach: leave everything running for a later resume; cancel: end it."""

CAPABILITIES: Final = (
    "exactly-once",  # a ref never executes twice
    "resize",  # grow and shrink
    "durable",  # jobs survive the end of our process
    "gpus",
    "figures",  # reads `outputs` beside the files
    "walltime",
    "update",
    "native-events",
    "absence-is-proof",  # a ref missing from a complete inventory is gone
    "reasons",  # says why jobs wait
)


class Accepted(Struct, frozen=True, gc=False, tag="accepted"):
    """The queue holds it. `native_id` may be empty when the queue names it later, by event."""

    native_id: str = ""


class Refused(Struct, frozen=True, gc=False, tag="refused"):
    """The queue does not take it; `transient`: it may later."""

    reason: str
    transient: bool = False


class Unknown(Struct, frozen=True, gc=False, tag="unknown"):
    """No answer: the job may or may not be there."""

    reason: str = ""


Receipt = Accepted | Refused | Unknown


class Sink(Protocol):
    """Where a member puts its events."""

    async def put(self, events: Sequence[JobEvent | NativeEvent | MemberEvent]) -> int:
        """Hand over events in order; return the last `n` that is durable. Waits while there is no credit."""
        ...


class Context(Struct, frozen=True):
    """What a member is told when it is opened.

    `name` is its key in `members`; `run_dir` the run's absolute directory; `epoch` the writer's number, which the
    member refuses to see fall; `options` those of the file; `nodes`, `cores`, `gpus` the size asked for (0 cores:
    what there is); `stream` and `position` the stream and its last durable `n`, both empty/0 in a new run;
    `resumed` whether jobs of this run may already be with the queue; `wanted` names of native events that rules
    wait for (`*`: all).
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
    """A member's answer to `open`. `stream` equal to `Context.stream`: the same stream goes on, so no inventory
    is needed; another: a new one begins and the runtime takes an inventory."""

    capabilities: frozenset[str]
    stream: str
    nodes_up: int = -1
    nodes_free: int = -1
    cores_up: int = -1
    cores_free: int = -1
    gpus_up: int = -1
    cores_per_node: int = 0
    launchers: tuple[str, ...] = ()
    text: str = ""


class InventoryItem(Struct, frozen=True, gc=False):
    """One attempt that the back end knows: its present state and, when it has ended, its last event."""

    ref: AttemptRef
    state: str
    native_id: str = ""
    event: JobEvent | None = None


class Page(Struct, frozen=True):
    """Part of an inventory. On the last page `last` is true; `complete` then says whether a ref that no page
    named is proven to be absent, and `text` why not."""

    items: tuple[InventoryItem, ...]
    last: bool = False
    complete: bool = False
    text: str = ""


class JobChange(Struct, frozen=True, omit_defaults=True):
    """A change to a queued or running job; None leaves a thing as it is."""

    priority: int | None = None
    walltime: float | None = None
    hold: bool | None = None


class Member(Protocol):
    """A queue back end. Every call may be cancelled; none blocks the event loop.

    A call that carries out a command (`submit`, `cancel`, `update`, `resize`, a page of `inventory`) is given up after
    300 s without an answer: the member is closed with `detach` and opened again. A member that can tell sooner that its
    queue does not answer puts `MemberEvent("down")`. `close` is given 60 s, and 1 s when the run must be left.
    """

    async def open(self, context: Context) -> Hello:
        """Connect (or reconnect) and begin to send events. Raises `MemberUnavailable` when it cannot be used here
        and `MemberError(transient=True)` when it may be later."""
        ...

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Hand over jobs; one receipt each, in order. `batch` is the command id: the same batch sent twice is
        answered the same and runs once."""
        ...

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """End jobs: politely, and after `grace` seconds without mercy. Returns once the queue knows; the end
        itself comes as an event."""
        ...

    async def update(self, refs: Sequence[AttemptRef], change: JobChange) -> Sequence[Receipt]:
        """Change queued or running jobs; `Refused` where the queue cannot."""
        ...

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Bring the member to `nodes` nodes. `Accepted`: under way; a `MemberEvent("nodes")` tells each change and
        a `ResizeDone` is made by the runtime when `nodes_up` reaches the target. Running jobs are never killed."""
        ...

    def inventory(self) -> AsyncIterator[Page]:
        """Every attempt of this run that the back end still knows."""
        ...

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Read part of a job's file (`stdout`, `stderr` or a path in its work directory), for people."""
        ...

    async def close(self, mode: CloseMode) -> None:
        """Let go. After it returns no event is put."""
        ...


class MemberFactory(Protocol):
    """What the entry point group `ensemble.members` names: makes an unopened member."""

    def __call__(self) -> Member:
        """Make one; nothing is connected before `open`."""
        ...
