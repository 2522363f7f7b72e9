"""The keeper: spawns, watches and reaps the jobs of one local member, whether or not an engine is there.

One thread does everything but two kinds of waiting: a second makes ends durable, a small pool reads figures of merit.
`starts` has the queue, `processes` what runs, `ends` how it ended, `channel` the connection to the engine. The order of
things is what makes it safe, and each of these says its part of it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

import msgspec

from ensemble.members.local.channel import Channel
from ensemble.members.local.ends import Ends
from ensemble.members.local.guard import become_subreaper
from ensemble.members.local.processes import Processes
from ensemble.members.local.records import KeeperLog
from ensemble.members.local.recovery import Recovery
from ensemble.members.local.slots import Slots
from ensemble.members.local.starts import Starts
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import JobSpec

CLOSE_GRACE: Final = 2.0
"""Seconds that jobs have when the member is closed with `cancel`."""
IDLE_SECONDS: Final = 60.0
"""A keeper without jobs and without an engine ends after so long."""
STRAY_SECONDS: Final = 10.0
"""How long a keeper waits at its end for what it cannot end (another user's processes)."""
SIZES_SECONDS: Final = 0.5
"""Seconds between two messages on what is free."""
WAITING_SECONDS: Final = 3.0
"""Seconds between two messages on how many jobs wait, while nothing else about sizes changes."""
LONGEST_WAIT: Final = 10.0


class Keeper:
    """The loop, and what the engine asks of it."""

    def __init__(self, run_dir: str, name: str, stream: str) -> None:
        """Take over what earlier keepers of the member `name` left in `run_dir`, and listen."""
        self.name = name
        self.stream = stream
        folder = Path(run_dir) / "keeper"
        self.closing = False
        self.busy_at = time.monotonic()
        self.sized = False
        """An engine has said how large the member is."""
        self.sizes: dict[str, int] = {}
        self.sizes_at = 0.0
        self.waiting: dict[str, int] = {}
        """Why jobs wait, as it was sent last."""
        self.selector = selectors.DefaultSelector()
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.selector.register(self.wake_read, selectors.EVENT_READ, self._woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        recovery = Recovery(folder, name, stream)
        self.log = KeeperLog(folder / f"keeper.{stream}.log")
        self.channel = Channel(
            self.selector,
            {
                "hello": self._hello,
                "submit": self._submit,
                "cancel": self._cancel,
                "resize": self._resize,
                "inventory": self._inventory,
                "ack": self._ack,
                "ping": self._ping,
                "close": self._close,
            },
        )
        self.ends = Ends(name, self.log, self.channel.put, self._wake, recovery.ended)
        self.processes = Processes(
            run_dir, self.log, self.ends, recovery, self.selector, lambda placement: self.starts.give_back(placement)
        )
        self.starts = Starts(run_dir, name, self.log, self.ends, self.channel.put, self.processes.add)
        self.processes.adopt()
        self.channel.listen(folder / f"{name}.socket", stream)

    # ---- life --------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve until there is nothing left to do."""
        while not self._over():
            for key, _ in self.selector.select(self._timeout()):
                key.data()
            self._turn()
        self.channel.close()

    def _over(self) -> bool:
        if self.processes.running or self.starts.queue or self.ends.pending:
            self.busy_at = time.monotonic()
            return False
        if self.processes.unswept and time.monotonic() - self.busy_at < STRAY_SECONDS:
            return False
        if self.closing:
            # whether the engine has received every end does not matter: the next keeper reads them from the log
            return self.channel.delivered
        since = max(self.busy_at, self.channel.idle_since)
        return not self.channel.connected and time.monotonic() - since > IDLE_SECONDS

    def _timeout(self) -> float:
        due = min(self.starts.due(), self.processes.due(), self.channel.due(), self._sizes_due())
        return max(0.0, min(due - time.monotonic(), LONGEST_WAIT))

    def _turn(self) -> None:
        """Do one round: jobs that ended, timers that are due, jobs that can start, events to send."""
        self.processes.reap(self.starts.start_some)
        now = time.monotonic()
        self.processes.run_timers(now)
        self.starts.start_some()
        self.log.pay()
        self.ends.send_durable()
        if now >= self._sizes_due():
            self._send_sizes(now)
        self.starts.prepare_ahead()
        self.processes.sweep(now)
        self.channel.flush()

    def _wake(self) -> None:
        """Wake the loop; may be called from other threads."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.wake_write, b"w")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, 65536)

    # ---- what the engine asks ----------------------------------------------------------------------

    def _hello(self, message: list[Any]) -> None:
        asked, starts = message[1], self.starts
        if not self.sized:
            self.sized = True
            cores = asked["cores"] or len(os.sched_getaffinity(0))
            starts.slots = Slots(asked["nodes"], cores, asked["gpus"])
            self.processes.hold_adopted(starts.slots)
        starts.most_nodes = max(asked["nodes"], asked["max_nodes"], len(starts.slots.nodes))
        starts.can_start = True
        if asked["stream"] == self.stream:
            self.channel.acknowledged(asked["position"])
        self.sizes = starts.slots.sizes()
        about = {"stream": self.stream, "cores_per_node": starts.slots.cores, "pid": os.getpid()}
        self.channel.send(["hello", {**about, **self.sizes}])

    def _submit(self, message: list[Any]) -> None:
        specs = msgspec.convert(message[2], list[JobSpec])
        self.channel.send(["reply", message[1], [[self.starts.submit(spec), False] for spec in specs]])

    def _cancel(self, message: list[Any]) -> None:
        _, request, refs, grace = message
        for key, attempt in refs:
            self.processes.cancel((key, attempt), grace)
            self.starts.cancel((key, attempt))
        self.channel.send(["reply", request, []])

    def _resize(self, message: list[Any]) -> None:
        starts = self.starts
        starts.slots.resize(message[2])
        starts.most_nodes = max(starts.most_nodes, message[2])
        starts.can_start = True
        self.sizes_at = 0.0
        self.channel.send(["reply", message[1], []])

    def _inventory(self, message: list[Any]) -> None:
        items = []
        for ref, event in self.ends.known.items():
            state = "inactive" if event is not None else "sched" if ref in self.starts.queue else "run"
            items.append([*ref, state, event])
        self.channel.send(["reply", message[1], items])

    def _ping(self, message: list[Any]) -> None:
        """Answer the engine's question whether this keeper and its threads still work."""
        self.channel.send(["reply", message[1], []])

    def _ack(self, message: list[Any]) -> None:
        self.channel.acknowledged(message[1])

    def _close(self, message: list[Any]) -> None:
        _, request, mode = message
        if mode != "detach":
            self.closing = True
        if mode == "cancel":
            for ref in list(self.starts.queue):
                self.starts.cancel(ref)
            self.processes.cancel_all(CLOSE_GRACE)
        self.channel.send(["reply", request, []])

    # ---- sizes, and how many jobs wait -------------------------------------------------------------

    def _sizes_due(self) -> float:
        """When (monotonic seconds) the engine is to learn of a change; infinity without one."""
        if self.sized and self.starts.slots.sizes() != self.sizes:
            return self.sizes_at + SIZES_SECONDS
        if self.sized and len(self.starts.queue) != sum(self.waiting.values()):
            return self.sizes_at + WAITING_SECONDS
        return float("inf")

    def _send_sizes(self, now: float) -> None:
        self.sizes, self.sizes_at = self.starts.slots.sizes(), now
        before, self.waiting = self.waiting, self.starts.why_they_wait()
        event = MemberEvent(
            self.name,
            "nodes",
            time.time(),
            queue={"sched": len(self.starts.queue), "run": len(self.processes.running)},
            waiting=self.waiting if self.waiting != before else None,
        )
        self.channel.put(msgspec.structs.replace(event, **self.sizes))


def main() -> None:
    """Run a keeper: arguments are the run directory, the member's name and the stream's."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        become_subreaper()
        Keeper(*sys.argv[1:4]).serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # at once: a thread that hangs would keep a process alive that nobody can speak with
        os._exit(code)
