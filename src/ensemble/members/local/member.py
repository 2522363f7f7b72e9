"""The engine's end of a local member: finds or starts the keeper and exchanges messages with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

import msgspec

from ensemble.members.contract import (
    Accepted,
    CloseMode,
    Context,
    Hello,
    InventoryItem,
    Page,
    Receipt,
    Refused,
)
from ensemble.members.kit.fetching import fetch_file
from ensemble.members.local import guard
from ensemble.members.local.wire import Frames, encode_frame
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.failpoints import failpoint
from ensemble.model.jobs import AttemptRef, JobSpec

START_SECONDS = 30.0
"""How long a keeper may take to start (it takes 0.2 s where nothing is slow)."""

ANSWER_SECONDS = 5.0
"""How long a keeper may take to answer that it closes."""

STUCK_SECONDS = 15
"""A keeper that owes an answer is given up when its main thread has used no processor time for so long."""

BUSY_SECONDS = 300
"""And when it has, after so long."""

ASK_SECONDS = 5
"""A keeper that has sent nothing for so long is asked whether it is there."""

END_SECONDS = 5.0
"""How long a keeper that was given up may take to be gone after SIGKILL."""

_PAGE = 5000
_GROUP = 5000
"""Events put into the journal at a time, about."""

CAPABILITIES = frozenset(
    {"exactly-once", "resize", "durable", "gpus", "figures", "walltime", "absence-is-proof", "reasons", "own-nodes"}
)


class LocalMember:
    """Runs jobs as processes of this machine. See `members.contract.Member` for what each call promises.

    Beyond the contract: jobs start in the order in which they were submitted, and a job that does not fit yet
    holds back those behind it, so a large job is never starved. When the keeper dies, `MemberEvent("down")` is put;
    `open` with the same context then starts another, which finds every job of the one before.
    """

    # what this kind of member can do: `members.contract.Member`
    group_options: ClassVar = ("grace",)
    launchers: ClassVar = ("mpiexec", "none")
    own_nodes: ClassVar = True

    def __init__(self) -> None:
        self._context: Context | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._request = 0
        self._early: list[Any] = []
        self._closing = False
        self._received = 0
        """How often something came from the keeper."""
        self._stuck = ""
        """Why the keeper was given up although it lives."""

    async def open(self, context: Context) -> Hello:
        """Connect to the run's keeper, or start one. Raises `MemberError`."""
        self._context = context
        self._closing = False
        folder = Path(context.run_dir) / "keeper"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (Path(context.run_dir) / "jobs").mkdir(exist_ok=True)
        stuck, self._stuck = self._stuck, ""
        answer = None if stuck else await self._connect(folder, context)
        if answer is None:
            await self._end_keepers(folder, context)
            answer = await self._start(folder, context)
        self._pump = asyncio.create_task(self._read_events(answer["pid"]), name=f"member {context.name}")
        sizes = {name: answer[name] for name in ("nodes_up", "nodes_free", "cores_up", "cores_free", "gpus_up")}
        return Hello(
            CAPABILITIES,
            answer["stream"],
            cores_per_node=answer["cores_per_node"],
            **sizes,
        )

    async def _end_keepers(self, folder: Path, context: Context) -> None:
        """End every keeper that this member had before: two at once could start one job twice.

        Raises `MemberError` while one cannot be ended, as when the kernel waits for a file server on its behalf.
        """
        if not any(folder.glob(f"keeper.{context.name}@*.log")):
            return
        until = time.monotonic() + END_SECONDS
        while pids := _keepers(context):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                raise MemberError(
                    f"the keeper of member {context.name} (process {pids[0]}) does not answer and cannot be ended",
                    transient=True,
                )
            await asyncio.sleep(0.01)

    async def _start(self, folder: Path, context: Context) -> dict[str, Any]:
        """Start the guards, and by them a keeper; return its answer to our hello."""
        stream = f"{context.name}@{context.epoch}-{token_hex(4)}"
        errors = folder / f"keeper.{stream}.err"
        group = _start_guards(context, stream, errors)
        until = time.monotonic() + START_SECONDS
        address = folder / f"{context.name}.socket"
        while time.monotonic() < until:
            if address.exists() and address.read_text().splitlines()[1:2] == [stream]:
                answer = await self._connect(folder, context)
                if answer is not None:
                    return answer
            await asyncio.sleep(0.005)
        # it must not come to life later, beside the next one; it has started no job, for nobody has asked it to
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        said = errors.read_text()[-2000:].strip()
        raise MemberError(f"the keeper of member {context.name} did not start: {said or 'it wrote nothing'}")

    async def _connect(self, folder: Path, context: Context) -> dict[str, Any] | None:
        """Connect to a living keeper; None when there is none. Raises `MemberError` when it refuses this engine."""
        try:
            socket_path, _, pid = (folder / f"{context.name}.socket").read_text().splitlines()[:3]
            patience = Patience(int(pid))
            reader, writer = await asyncio.open_unix_connection(socket_path)
        except (OSError, ValueError):
            return None
        hello = {
            "epoch": context.epoch,
            "stream": context.stream,
            "position": context.position,
            "nodes": context.nodes,
            "max_nodes": context.max_nodes,
            "cores": context.cores,
            "gpus": context.gpus,
        }
        writer.write(encode_frame(["hello", hello]))
        self._frames = Frames()
        while True:
            data = await _read_patiently(reader, patience)
            if not data:
                writer.close()
                return None
            messages = self._frames.feed(data)
            if not messages:
                continue
            first = messages[0]
            if first[0] == "refused":
                raise MemberError(f"the keeper of member {context.name} refuses this engine: {first[1]}")
            # what came in the same read as the hello stays in order behind it
            self._early = messages[1:]
            self._reader, self._writer = reader, writer
            found: dict[str, Any] = first[1]
            return found

    async def _read_events(self, pid: int) -> None:
        assert self._reader is not None
        assert self._context is not None
        # its bound is the keeper's window: were it full, answers would wait behind events that are not taken
        messages: asyncio.Queue[list[Any] | None] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(messages))
        watch = asyncio.create_task(self._watch(pid))
        try:
            with contextlib.suppress(OSError):
                await self._read_frames(self._reader, messages)
            self._give_up_answers()
            await messages.put(None)
            await delivery
        finally:
            watch.cancel()
            self._give_up_answers()
            delivery.cancel()
            # a put that is under way is over before we are
            await asyncio.wait([delivery])
        if not self._closing:
            why = self._stuck or "the keeper is gone"
            await self._context.sink.put([MemberEvent(self._context.name, "down", time.time(), text=why)])

    async def _watch(self, pid: int) -> None:
        """Give up a keeper that owes an answer and does nothing.

        Our own seconds are counted and not the clock's, so that a machine that was suspended, or so loaded that we do
        not run ourselves, is no reason.
        """
        patience = Patience(pid)
        while True:
            received = self._received
            await asyncio.sleep(1.0 if self._answers else ASK_SECONDS)
            if received == self._received and not self._answers:
                asked = asyncio.create_task(self._ask("ping"))
                asked.add_done_callback(_forget)
            if received != self._received or not self._answers:
                patience = Patience(pid)
            elif patience.over():
                assert self._writer is not None
                self._stuck = f"the keeper (process {pid}) has not answered for {patience.seconds} s"
                self._writer.transport.abort()
                return

    async def _read_frames(self, reader: asyncio.StreamReader, messages: asyncio.Queue[list[Any] | None]) -> None:
        while True:
            for message in self._early:
                await self._take(message, messages)
            self._early = []
            data = await reader.read(1 << 20)
            if not data:
                return
            self._received += 1
            self._early = self._frames.feed(data)

    def _give_up_answers(self) -> None:
        for future in self._answers.values():
            if not future.done():
                future.set_exception(MemberError("the keeper is gone", transient=True))
        self._answers.clear()

    async def _take(self, message: list[Any], events: asyncio.Queue[list[Any] | None]) -> None:
        if message[0] == "events":
            await events.put(message[1])
        elif message[0] == "reply":
            future = self._answers.pop(message[1], None)
            if future is not None and not future.done():
                future.set_result(message[2])

    async def _deliver(self, messages: asyncio.Queue[list[Any] | None]) -> None:
        """Put events into the journal in order and acknowledge to the keeper those that are durable."""
        assert self._context is not None
        over = False
        while not over and (batch := await messages.get()) is not None:
            # what came while the journal was syncing goes into one group
            while not messages.empty() and len(batch) < _GROUP:
                more = messages.get_nowait()
                if more is None:
                    over = True
                    break
                batch += more
            events = msgspec.convert(batch, list[JobEvent | MemberEvent])
            position = await self._context.sink.put(events)
            failpoint("runtime.before-ack")
            if self._writer is not None and not self._writer.is_closing():
                self._writer.write(encode_frame(["ack", position]))
            failpoint("runtime.after-ack")

    async def _ask(self, verb: str, *arguments: Any) -> Any:
        if self._writer is None or self._writer.is_closing():
            raise MemberError("the keeper is gone", transient=True)
        self._request += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[self._request] = future
        self._writer.write(encode_frame([verb, self._request, *arguments]))
        try:
            await self._writer.drain()
        except OSError as error:
            raise MemberError("the keeper is gone", transient=True) from error
        return await future

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Hand over jobs; the keeper knows each by its ref, so a batch sent twice runs once."""
        answers = await self._ask("submit", list(jobs))
        return [Refused(reason, transient) if reason else Accepted() for reason, transient in answers]

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """End jobs: SIGTERM to the process group, SIGKILL after `grace` seconds."""
        await self._ask("cancel", [[ref.key, ref.attempt] for ref in refs], grace)
        return [Accepted() for _ in refs]

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Make or remove virtual nodes; a busy one leaves when its jobs have ended."""
        await self._ask("resize", nodes)
        return Accepted()

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that this run's keepers know, with the end of those that have ended."""
        assert self._context is not None
        items = await self._ask("inventory")
        found = [
            InventoryItem(
                AttemptRef(self._context.run, key, attempt),
                state,
                event=msgspec.convert(event, JobEvent) if event is not None else None,
            )
            for key, attempt, state, event in items
        ]
        for place in range(0, len(found), _PAGE):
            yield Page(tuple(found[place : place + _PAGE]))
        yield Page((), last=True, complete=True)

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Read part of a file of a job. Raises `MemberError` when there is none, or it is outside the job's folder."""
        assert self._context is not None
        return await fetch_file(self._context.run_dir, ref, path, offset, limit)

    async def close(self, mode: CloseMode) -> None:
        """Close the member. With `detach` the keeper and its jobs go on, else their ends are waited for and sent."""
        self._closing = True
        try:
            with contextlib.suppress(MemberError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._ask("close", mode)
                if mode != "detach" and self._pump is not None:
                    # the keeper closes the connection when it has sent every end
                    await asyncio.wait([self._pump])
        finally:
            if self._writer is not None:
                self._writer.close()
            pump, self._pump = self._pump, None
            if pump is not None:
                pump.cancel()
                await asyncio.wait([pump])


class Patience:
    """Counts the seconds for which a process owes an answer."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.seconds = 0
        self._idle = 0
        self._used = self._processor_time()

    def over(self) -> bool:
        """Count one more second; true when it is not to be waited for any more."""
        self.seconds += 1
        used = self._processor_time()
        self._idle = self._idle + 1 if used == self._used else 0
        self._used = used
        return self._idle >= STUCK_SECONDS or self.seconds >= BUSY_SECONDS

    def _processor_time(self) -> list[str]:
        """Of its main thread, which is the one that answers."""
        return guard.stat_of(self.pid, self.pid)[11:13]


async def _read_patiently(reader: asyncio.StreamReader, patience: Patience) -> bytes:
    """What comes next; nothing at the end of the stream or when patience is over."""
    reading = asyncio.create_task(reader.read(1 << 16))
    try:
        while not reading.done():
            await asyncio.wait([reading], timeout=1.0)
            if not reading.done() and patience.over():
                return b""
        return reading.result()
    except OSError:
        return b""
    finally:
        reading.cancel()


def _start_guards(context: Context, stream: str, errors: Path) -> int:
    """Start the guards, which start the keeper; return their process group. They outlive us on purpose."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if context.resumed:
        # a failpoint is for the first keeper; the one that takes over from it lives
        environment.pop("ENSEMBLE_FAILPOINT", None)
    # the guards need the standard library only, and the real interpreter starts faster than a venv's
    words = [os.path.realpath(sys.executable), "-I", "-S", "-", "inner"]
    words += [context.run_dir, context.name, stream, sys.executable]
    with errors.open("ab") as log, open(guard.__file__, "rb") as source:
        return subprocess.Popen(  # noqa: S603 - our own program
            words, stdin=source, stdout=log, stderr=log, start_new_session=True, cwd="/", env=environment
        ).pid


def _keepers(context: Context) -> list[int]:
    """The processes that are keepers of this run's member, zombies left out."""
    last = [os.fsencode(context.run_dir), os.fsencode(context.name)]
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                # a job that has not become its program yet looks alike, but leads a process group
                if guard.KEEPER.encode() in words and words[-4:-2] == last:
                    pid = int(entry)
                    if guard.group_and_session(pid)[0] not in (0, pid):
                        found.append(pid)
    return found


def _forget(asked: asyncio.Task[Any]) -> None:
    """Whether a ping was answered is known by what came, not by its answer."""
    if not asked.cancelled():
        asked.exception()
