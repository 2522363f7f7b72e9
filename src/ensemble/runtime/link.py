"""The runtime's side of one member: opens it, sends its commands in order, opens it again when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from ensemble.engine import Submission
from ensemble.members.contract import Context, Hello, Member, Refused, Unknown
from ensemble.model.decisions import Call, Cancel, Resize, StopMember
from ensemble.model.errors import EnsembleError, MemberError, MemberUnavailable
from ensemble.model.events import Fault, MemberEvent, ResizeDone, SubmitAnswered
from ensemble.model.failpoints import failpoint
from ensemble.model.jobs import AttemptRef
from ensemble.runtime.answering import Answering, Unanswered
from ensemble.runtime.inventory import take_inventory
from ensemble.runtime.submission import submit
from ensemble.runtime.validation import Incoming, validated

if TYPE_CHECKING:
    from ensemble.members.contract import CloseMode
    from ensemble.runtime.loop import RunLoop

Command = Submission | Cancel | Resize | StopMember
Ref = tuple[str, int]

PATIENCE: Final = (0.0, 0.2, 1.0, 5.0, 15.0, 60.0)
"""Seconds before each attempt to open a member. One that was never open is given up after the last."""

AGAIN: Final = 15.0
"""The most seconds between attempts to open a member that was open. It is tried for ever: its jobs may be running."""

BACKOFF: Final = (0.1, 0.3, 1.0, 3.0)
"""Seconds before each repetition of a call that failed for now; after the last the member counts as gone."""

DOUBT_SECONDS: Final = (0.5, 5.0, 15.0, 60.0)
"""Seconds before each look for submissions that were left without an answer; the last goes on."""

MOST_FAULTS: Final = 3
"""Times that one command may make a member raise what it should not, before the command counts as failed."""

RESIZE_SECONDS: Final = 600.0
"""How long a resize may take before it counts as failed (option `resize_timeout` of the member)."""

CLOSE_SECONDS: Final = 60.0
"""How long a member may take to let go."""

HURRY_SECONDS: Final = 1.0
"""The same once the run must be left, as after SIGTERM."""

QUIET_SECONDS: Final = 15
"""A member that owes an answer for longer does not count as answering."""

CANCELS: Final = 1000
"""Attempts cancelled in one call."""


class GivenUp(Exception):
    """The member is not to be had; the text says why."""


class Link:
    """One member of one run."""

    def __init__(self, loop: RunLoop, member: Member, context: Context) -> None:
        """`context` is completed with each opening: its sink, stream and position are left out."""
        self.loop = loop
        self.member = Answering(member)
        self.context = context
        self.name = context.name
        self.doubtful: set[Ref] = set()
        """Submissions that were left without an answer."""
        self._commands: deque[Command] = deque()
        self._cancelled: set[Ref] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sink = LinkSink(self)
        self._down = False
        self._reported_down = False
        """The engine knows that the member is down, and not yet that it is up again."""
        self._ready = False
        self._was_open = False
        self._stream = ""
        self._position = 0
        self._resizes: dict[int, tuple[int, int]] = {}
        """Those under way: where each began and where it goes."""
        self._stopping: StopMember | None = None
        self._faults: dict[int, int] = {}
        self._doubts = 0
        self._look_at = 0.0

    # ---- what the loop calls -----------------------------------------------------------------------

    def start(self, *, resumed: bool) -> None:
        """Begin: open the member, then send what there is to send.

        In a resumed run all that nobody has answered goes again: every command may be sent twice.
        """
        if resumed:
            view = self.loop.engine.view
            self._was_open = view.member(self.name).opened
            self._stream, self._position = view.position(self.name)
            for command in self.loop.engine.open_commands(self.name):
                if not isinstance(command, Call):
                    self._commands.append(command)
        self._task = asyncio.create_task(self._work(resumed), name=f"link {self.name}")

    def send(self, command: Command) -> None:
        """Take a durable command."""
        self._commands.append(command)
        self._wake.set()

    @property
    def answering(self) -> bool:
        """Whether the member is open and owes no answer for long."""
        return self._ready and not self._down and self.member.owing < QUIET_SECONDS

    async def close(self, mode: CloseMode) -> None:
        """Stop sending and let the member go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=HURRY_SECONDS)
        closing = asyncio.create_task(self.member.close(mode), name=f"close {self.name}")
        hurried = asyncio.create_task(self.loop.hurried.wait())
        try:
            await asyncio.wait([closing, hurried], timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not closing.done() and self.loop.hurried.is_set():
                await asyncio.wait([closing], timeout=HURRY_SECONDS)
            if not closing.done():
                self.loop.warnings.append(f"member {self.name} did not let go in time")
            elif (error := closing.exception()) is not None:
                self.loop.warnings.append(f"member {self.name} could not be closed: {_text_of(error)}")
        finally:
            hurried.cancel()
            closing.cancel()
            self._sink.shut()

    # ---- what the member calls ---------------------------------------------------------------------

    async def take(self, sink: LinkSink, events: Sequence[Incoming]) -> int:
        """Take in what a connection has put; return the last number that is durable."""
        believed = [event for event in (validated(one, self.name) for one in events) if event is not None]
        durable = self.loop.enter(believed)
        for event in believed:
            if isinstance(event, MemberEvent):
                self._note(event)
        if self._stopping is not None:
            self._wake.set()
        if await durable:
            sink.durable = max(sink.durable, max((event.n for event in events), default=0))
            if sink is self._sink:
                self._position = max(self._position, sink.durable)
        return sink.durable

    def _note(self, event: MemberEvent) -> None:
        if event.name == "down":
            self._down = self._reported_down = True
            self._wake.set()
        elif event.name == "resize-failed":
            for command in list(self._resizes):
                self._resize_over(command, event.text)
        elif event.nodes_up >= 0:
            self._resized(event.nodes_up)

    # ---- work --------------------------------------------------------------------------------------

    async def _work(self, resumed: bool) -> None:
        try:
            await self._open(resumed)
            while True:
                self._wake.clear()
                if self._down:
                    await self._open(True)
                elif self._commands:
                    if await self._one(self._commands[0]):
                        self._commands.popleft()
                elif self._stopping is not None and not self.loop.engine.view.open_refs(self.name):
                    await self._stop(self._stopping)
                    return
                elif self.doubtful:
                    await self._look()
                else:
                    await self._wake.wait()
        except GivenUp as error:
            self.loop.warnings.append(f"member {self.name}: {error}")
            self.loop.post(MemberEvent(self.name, "gone", time.time(), text=str(error)))

    async def _pause(self, seconds: float, *, for_commands: bool = False) -> None:
        """Sleep, until the member is gone (or there is a command)."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._down and not (for_commands and self._commands):
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()

    async def _one(self, command: Command) -> bool:
        """Carry out one command; false when it must go again (after the member was opened again, perhaps)."""
        for delay in (*BACKOFF, None):
            try:
                await self._carry_out(command)
            except Unanswered as error:
                await self._lose(str(error))
                return False
            except MemberError as error:
                if not error.transient:
                    self._refuse(command, str(error))
                    return True
                if self._down:
                    return False
                if delay is None:
                    await self._lose(str(error))
                    return False
                await self._pause(delay)
            except Exception as error:
                # a fault of the member's: it costs the member its connection, never the run
                faults = self._faults[command.id] = self._faults.get(command.id, 0) + 1
                self.loop.post(Fault("member-fault", f"{self.name}: {_text_of(error)}"))
                if faults >= MOST_FAULTS:
                    self._refuse(command, _text_of(error))
                    return True
                await self._lose(_text_of(error))
                return False
            else:
                failpoint("runtime.after-send")
                return True
        return False

    async def _carry_out(self, command: Command) -> None:
        if isinstance(command, Submission):
            answer = await submit(self.member, self.loop.engine.view, command, self.loop.pace, self._urgent)
            self._answered(answer)
        elif isinstance(command, Cancel):
            self._cancelled.update(command.refs)
            await self._cancel(command.refs, command.grace)
        elif isinstance(command, Resize):
            await self._resize(command)
        else:
            self._stopping = command
            if command.mode == "cancel":
                await self._cancel(tuple(self.loop.engine.view.open_refs(self.name)), 10.0)

    def _urgent(self) -> bool:
        """Whether something waits behind a submission that should not."""
        return self._down or any(isinstance(one, (Cancel, StopMember)) for one in self._commands)

    def _answered(self, answer: SubmitAnswered) -> None:
        self.loop.post(answer)
        if answer.unknown:
            self.doubtful.update(answer.unknown)
            self._doubts = 0
            self._look_at = time.monotonic() + DOUBT_SECONDS[0]

    async def _cancel(self, refs: Sequence[Ref], grace: float) -> None:
        for place in range(0, len(refs), CANCELS):
            some = [AttemptRef(self.context.run, key, attempt) for key, attempt in refs[place : place + CANCELS]]
            await self.member.cancel(some, grace)

    def _refuse(self, command: Command, why: str) -> None:
        """The member will not carry this out, however often it is asked."""
        if isinstance(command, Submission):
            refused = tuple((key, attempt, why, False) for key, attempt in command.refs())
            self.loop.post(SubmitAnswered(command.id, self.name, refused))
        elif isinstance(command, Resize):
            self._resize_failed(command.id, why)
        else:
            self.loop.post(Fault("command-failed", f"{self.name}: {type(command).__name__.lower()}: {why}"))

    async def _stop(self, command: StopMember) -> None:
        """Nothing of the run is left there: let it go."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.member.close("cancel" if command.mode == "cancel" else "drain")
        self._sink.shut()
        self.loop.post(MemberEvent(self.name, "closed", time.time()))

    # ---- resizing ----------------------------------------------------------------------------------

    async def _resize(self, command: Resize) -> None:
        begun = self.loop.engine.view.member(self.name).nodes_up
        for earlier in self._resizes:
            self.loop.post(ResizeDone(earlier, self.name, error=f"another followed, to {command.nodes} nodes"))
        self._resizes = {command.id: (begun, command.nodes)}
        receipt = await self.member.resize(command.id, command.nodes)
        if isinstance(receipt, (Refused, Unknown)):
            self._resize_failed(command.id, receipt.reason)
            return
        await self.loop.settled()
        self._resized(self.loop.engine.view.member(self.name).nodes_up)
        seconds = self.context.options.get("resize_timeout", RESIZE_SECONDS)
        if command.id in self._resizes and isinstance(seconds, (int, float)):
            asyncio.get_running_loop().call_later(seconds, self._resize_late, command.id, float(seconds))

    def _resized(self, nodes: int) -> None:
        for command, (begun, target) in list(self._resizes.items()):
            if nodes == target or min(begun, nodes) < target < max(begun, nodes):
                del self._resizes[command]
                self.loop.post(ResizeDone(command, self.name, nodes))

    def _resize_late(self, command: int, seconds: float) -> None:
        if command in self._resizes:
            self._resize_failed(command, f"not done after {seconds:g} s")

    def _resize_failed(self, command: int, why: str) -> None:
        """End a resize, and let rules react to it."""
        self._resize_over(command, why)
        self.loop.post(MemberEvent(self.name, "resize-failed", time.time(), text=why))

    def _resize_over(self, command: int, why: str) -> None:
        self._resizes.pop(command, None)
        self.loop.post(ResizeDone(command, self.name, error=why))

    # ---- opening -----------------------------------------------------------------------------------

    async def _lose(self, why: str) -> None:
        """Give a connection up that does not answer as it should."""
        self._sink.shut()
        self._down = True
        self._report_down(why)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.member.close("detach")

    async def _open(self, resumed: bool) -> None:
        """Open the member, however long it takes. Raises `GivenUp` for one that was never open."""
        reported = ""
        attempt = 0
        while True:
            await self._pause_before(attempt)
            attempt += 1
            self._sink.shut()
            self._sink = LinkSink(self)
            self._down = self._ready = False
            known = self.loop.engine.view.member(self.name)
            context = msgspec.structs.replace(
                self.context,
                sink=self._sink,
                stream=self._stream,
                position=self._position,
                resumed=resumed,
                # what it was brought to meanwhile, not what it began with
                nodes=known.target or self.context.nodes,
                min_nodes=known.min_nodes,
                max_nodes=known.max_nodes,
            )
            try:
                hello = await self.member.open(context)
                await self._opened(hello, resumed)
            except MemberError as error:
                why = str(error)
                if isinstance(error, MemberUnavailable) and self._was_open:
                    # its jobs may be running, and from here nobody can see them
                    self.loop.leave("unavailable", f"member {self.name}: {error}; resume the run where it is", 1)
                if not error.transient and not self._was_open:
                    raise GivenUp(why) from error
            except Exception as error:
                why = _text_of(error)
                self.loop.post(Fault("member-fault", f"{self.name}: {why}"))
            else:
                return
            if attempt >= len(PATIENCE) and not self._was_open:
                raise GivenUp(why)
            if why != reported:
                reported = why
                self._report_down(why)

    def _report_down(self, why: str) -> None:
        self._reported_down = True
        self.loop.post(MemberEvent(self.name, "down", time.time(), text=why))

    async def _pause_before(self, attempt: int) -> None:
        delay = PATIENCE[min(attempt, len(PATIENCE) - 1)]
        if self._was_open:
            delay = min(delay, AGAIN)
        if delay:
            await asyncio.sleep(delay)

    async def _opened(self, hello: Hello, resumed: bool) -> None:
        """Tell the engine, let events in, and find out what became of what it had before."""
        same = bool(hello.stream) and hello.stream == self._stream
        if not same:
            self._stream, self._position = hello.stream, 0
        self._was_open = self._ready = True
        event = MemberEvent(
            self.name,
            "open",
            time.time(),
            stream=hello.stream,
            nodes_up=hello.nodes_up,
            nodes_free=hello.nodes_free,
            cores_up=hello.cores_up,
            cores_free=hello.cores_free,
            gpus_up=hello.gpus_up,
            cores_per_node=hello.cores_per_node,
            capabilities=tuple(sorted(hello.capabilities)),
            text=hello.text,
        )
        self.loop.post(event)
        if self._reported_down:
            self._reported_down = False
            self.loop.post(MemberEvent(self.name, "up", time.time()))
        self._sink.open(self._position)
        if not resumed:
            return
        if not same:
            await take_inventory(self, hello.capabilities)
        await self.loop.settled()
        open_refs = set(self.loop.engine.view.open_refs(self.name))
        self._cancelled &= open_refs
        if self._cancelled:
            await self._cancel(sorted(self._cancelled), 10.0)
        for command, (_, nodes) in list(self._resizes.items()):
            await self.member.resize(command, nodes)

    async def _look(self) -> None:
        """Find out about submissions that were left without an answer."""
        wait = self._look_at - time.monotonic()
        if wait > 0:
            await self._pause(wait, for_commands=True)
            return
        self._doubts += 1
        self._look_at = time.monotonic() + DOUBT_SECONDS[min(self._doubts, len(DOUBT_SECONDS) - 1)]
        try:
            await take_inventory(self, frozenset())
        except MemberError as error:
            if not self._down:
                await self._lose(str(error))
        except Exception as error:
            self.loop.post(Fault("member-fault", f"{self.name}: {_text_of(error)}"))
            await self._lose(_text_of(error))


class LinkSink:
    """The `members.contract.Sink` of one connection; shut before the engine knows of it, and after its end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._open = asyncio.Event()
        self._shut = False
        self.durable = 0
        """The last number that is durable; 0: not known to be any."""

    def open(self, durable: int) -> None:
        """Let events in; those up to `durable` have come in before."""
        self.durable = durable
        self._open.set()

    def shut(self) -> None:
        """Let none in any more: another connection has taken over, or the run is left."""
        self._shut = True
        self._open.set()

    async def put(self, events: Sequence[Incoming]) -> int:
        """Hand over events in order; return the last `n` that is durable.

        That is less than what was handed over when the run is being left: those events must be kept for whoever comes.
        """
        await self._open.wait()
        if self._shut:
            return self.durable
        return await self._link.take(self, events)


def _text_of(error: BaseException) -> str:
    return str(error) if isinstance(error, EnsembleError) else f"{type(error).__name__}: {error}"
