"""The runtime's side of one member: sends its commands in order, opens it again when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from ensemble.members.contract import Context, Hello, Member, Refused, Unknown
from ensemble.model.decisions import Cancel, Resize, StopMember, Submit
from ensemble.model.errors import EnsembleError, MemberError
from ensemble.model.events import Event, JobEvent, MemberEvent, ResizeDone, SubmitAnswered
from ensemble.model.failpoints import failpoint
from ensemble.model.jobs import AttemptRef

if TYPE_CHECKING:
    from ensemble.members.contract import CloseMode
    from ensemble.runtime.session import Session

Command = Submit | Cancel | Resize | StopMember

CHUNK = 512
"""Jobs handed over in one call."""

PATIENCE = (0.0, 0.2, 1.0, 5.0, 15.0, 60.0)
"""Seconds before each attempt to open a member; after the last it is given up."""

RESIZE_SECONDS = 600.0
"""How long a resize may take before it counts as failed."""


class Link:
    """One member of one run."""

    def __init__(self, session: Session, member: Member, context: Context) -> None:
        self.session = session
        self.member = member
        self.context = context
        self._commands: deque[Command] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._down = False
        self._resizes: dict[int, int] = {}
        self._closed = False
        self._begun: set[int] = set()
        """Submissions that the member may have seen something of."""

    def start(self, *, resumed: bool) -> None:
        """Begin: open the member, then send what there is to send."""
        self._begun = {command.id for command in self.session.engine.open_commands()}
        self._task = asyncio.create_task(self._work(resumed), name=f"link {self.context.name}")

    def send(self, command: Command) -> None:
        """Take a durable command."""
        self._commands.append(command)
        self._wake.set()

    async def put(self, events: list[JobEvent | MemberEvent]) -> int:
        """The member's own way in: notices when the member is gone, and when a resize is done."""
        position = await self.session.put(events)
        for event in events:
            if isinstance(event, MemberEvent):
                if event.name == "down":
                    self._down = True
                    self._wake.set()
                elif event.nodes_up >= 0:
                    self._resized(event.nodes_up)
        return position

    def _resized(self, nodes: int) -> None:
        for command, target in list(self._resizes.items()):
            if nodes == target:
                del self._resizes[command]
                self.session.post(ResizeDone(command, self.context.name, nodes))

    # ---- work --------------------------------------------------------------------------------------

    async def _work(self, resumed: bool) -> None:
        try:
            if not await self._open(resumed):
                return
            while not self._closed:
                await self._wake.wait()
                self._wake.clear()
                while self._down or self._commands:
                    if self._down:
                        self._down = False
                        if not await self._open(True):
                            return
                        continue
                    command = self._commands[0]
                    try:
                        await self._carry_out(command)
                    except MemberError as error:
                        if not error.transient:
                            raise
                        if not self._down:
                            await asyncio.sleep(0.2)
                        continue
                    self._commands.popleft()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # a member that breaks takes its own jobs along, never the run
            text = str(error) if isinstance(error, EnsembleError) else f"{type(error).__name__}: {error}"
            self.session.warnings.append(f"member {self.context.name}: {text}")
            self.session.post(MemberEvent(self.context.name, "gone", time.time(), text=text))

    async def _open(self, resumed: bool) -> bool:
        """Open the member, however often it takes; false when it is given up."""
        name = self.context.name
        for delay in PATIENCE:
            await asyncio.sleep(delay)
            stream, position = self.session.engine.position(name)
            context = msgspec.structs.replace(self.context, stream=stream, position=position, resumed=resumed)
            try:
                hello = await self.member.open(context)
            except MemberError as error:
                text = str(error)
                if not error.transient and not resumed:
                    break
                continue
            await self._opened_as(hello, stream, resumed)
            return True
        self.session.warnings.append(f"member {name}: {text}")
        self.session.post(MemberEvent(name, "gone", time.time(), text=text))
        return False

    async def _opened_as(self, hello: Hello, stream: str, resumed: bool) -> None:
        event = MemberEvent(
            self.context.name,
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
        self.session.post(event)
        if resumed:
            # whatever was under way to the member counts by what the member says it has
            for command in self.session.engine.open_commands():
                if getattr(command, "member", "") != self.context.name or command in self._commands:
                    continue
                if isinstance(command, Submit) and hello.stream != stream:
                    self.session.post(SubmitAnswered(command.id, self.context.name))
                else:
                    self._commands.append(command)  # type: ignore[arg-type]
            if hello.stream != stream:
                await self._take_inventory()
            self._wake.set()

    async def _take_inventory(self) -> None:
        """Tell the engine what the member has; what it proves not to have was never sent."""
        known: set[tuple[str, int]] = set()
        events: list[Event] = []
        complete, text = False, ""
        async for page in self.member.inventory():
            for item in page.items:
                known.add((item.ref.key, item.ref.attempt))
                if item.event is not None:
                    events.append(msgspec.structs.replace(item.event, n=0))
                elif item.state in ("run", "sched", "depend"):
                    events.append(
                        JobEvent(self.context.name, item.ref.key, item.state, time.time(), attempt=item.ref.attempt)
                    )
            if page.last:
                complete, text = page.complete, page.text
        self.session.post(*events)
        unsent: list[tuple[str, int]] = []
        if complete:
            # what was decided on and is still on its way to the member is neither there nor missing
            waiting = {
                (f"{span.group}-{number}", span.attempt)
                for command in self.session.engine.open_commands()
                if isinstance(command, Submit) and command.id not in self._begun
                for span in command.spans
                for number in range(span.first, span.first + span.count)
            }
            open_refs = self.session.engine.open_refs(self.context.name)
            unsent = [ref for ref in open_refs if ref not in known and ref not in waiting]
        self.session.post(MemberEvent(self.context.name, "inventory", time.time(), unsent=tuple(unsent), text=text))

    async def _carry_out(self, command: Command) -> None:
        if isinstance(command, Submit):
            self._begun.add(command.id)
            await self._submit(command)
            self._begun.discard(command.id)
        elif isinstance(command, Cancel):
            refs = [AttemptRef(self.context.run, key, attempt) for key, attempt in command.refs]
            await self.member.cancel(refs, command.grace)
        elif isinstance(command, Resize):
            self._resizes[command.id] = command.nodes
            receipt = await self.member.resize(command.id, command.nodes)
            if isinstance(receipt, (Refused, Unknown)):
                self._resizes.pop(command.id, None)
                self.session.post(ResizeDone(command.id, self.context.name, error=receipt.reason))
            elif self.session.engine.state.members[self.context.name].nodes_up == command.nodes:
                self._resized(command.nodes)
            else:
                asyncio.get_running_loop().call_later(RESIZE_SECONDS, self._resize_late, command.id)
        else:
            await self.member.close("drain" if command.mode == "drain" else "cancel")
            self.session.post(MemberEvent(self.context.name, "closed", time.time()))
        failpoint("runtime.after-send")

    def _resize_late(self, command: int) -> None:
        if self._resizes.pop(command, None) is not None:
            text = f"not done after {RESIZE_SECONDS:g} s"
            self.session.post(ResizeDone(command, self.context.name, error=text))

    async def _submit(self, command: Submit) -> None:
        jobs = self.session.engine.job_specs(command)
        refused: list[tuple[str, int, str, bool]] = []
        unknown: list[tuple[str, int]] = []
        for place in range(0, len(jobs), CHUNK):
            chunk = jobs[place : place + CHUNK]
            receipts = await self.member.submit(command.id, chunk)
            for job, receipt in zip(chunk, receipts, strict=True):
                if isinstance(receipt, Refused):
                    refused.append((job.ref.key, job.ref.attempt, receipt.reason, receipt.transient))
                elif isinstance(receipt, Unknown):
                    unknown.append((job.ref.key, job.ref.attempt))
        self.session.post(SubmitAnswered(command.id, self.context.name, tuple(refused), tuple(unknown)))

    async def close(self, mode: CloseMode) -> None:
        """Stop sending and let the member go."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(MemberError, OSError):
            await self.member.close(mode)
