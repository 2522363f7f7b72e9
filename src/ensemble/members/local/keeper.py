"""The keeper: spawns, watches and reaps the jobs of one local member, whether or not an engine is there.

One thread does everything but two kinds of waiting: a second makes ends durable, a small pool reads figures of merit.
The order of things is what makes it safe: `starting` is written, then the process is spawned, and `started` is written
before the next spawn; an end is written before its process is reaped, and synced before the engine gets it. A job's
stdout is created exclusively by the job's own process before the program begins: this file is the claim, and a second
start of the same attempt fails on it.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import selectors
import shutil
import signal
import sys
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.program import base_environment
from ensemble.members.kit.staging import StagingError
from ensemble.members.local.channel import Channel
from ensemble.members.local.guard import become_subreaper, stat_of, wait_status
from ensemble.members.local.launch import LaunchError
from ensemble.members.local.prepare import Waiting
from ensemble.members.local.records import Ended, Exited, KeeperLog, Started, Starting
from ensemble.members.local.recovery import TICKS, Adopted, Recovery, gpus_of_process
from ensemble.members.local.running import NO_STORAGE, Running, spawn
from ensemble.members.local.slots import Placement, Slots
from ensemble.members.local.strays import end_strays
from ensemble.members.local.syncer import Syncer
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.failpoints import failpoint
from ensemble.model.jobs import JobSpec

CLOSE_GRACE: Final = 2.0
"""Seconds that jobs have when the member is closed with `cancel`."""
IDLE_SECONDS: Final = 60.0
"""A keeper without jobs and without an engine ends after so long."""

SPAWNS_A_TURN: Final = 64
PREPARED: Final = 16
"""How many of the next jobs are made ready while they wait for a slot."""
SIZES_SECONDS: Final = 0.5
WAITING_SECONDS: Final = 3.0
"""Seconds between two messages on how many jobs wait, while nothing else about sizes changes."""
SWEEP_SECONDS: Final = 0.1
"""Least time between two searches for processes that outlived their job; they begin when a job ends."""
LAST_SWEEP_SECONDS: Final = 0.01
"""The same, when no job runs."""
IDLE_SWEEP_SECONDS: Final = 2.0
"""The longest time between two searches while jobs run."""
STRAY_SECONDS: Final = 10.0
"""How long a keeper waits at its end for what it cannot end (another user's processes)."""
SYNC_STUCK_SECONDS: Final = 15.0
"""After so long in one sync the disk is said not to answer."""
ROOM_SECONDS: Final = 1.0
"""Between two attempts to start a job on a full disk."""

Ref = tuple[str, int]


class Keeper:
    """All of it."""

    def __init__(self, run_dir: str, name: str, stream: str) -> None:
        self.run_dir = run_dir
        self.name = name
        self.stream = stream
        self.folder = Path(run_dir) / "keeper"
        self.base = {**base_environment(), "ENSEMBLE_RUN_DIR": run_dir}
        self.slots = Slots(0, 0, 0)
        self.sized = False
        self.most_nodes = 0
        self.queue: OrderedDict[Ref, Waiting] = OrderedDict()
        self.prepared = 0
        """How many at the head of the queue were made ready ahead."""
        self.running: dict[int, Running] = {}
        self.pids: dict[Ref, int] = {}
        self.seen: dict[Ref, JobEvent | None] = {}
        """Every attempt we know of: its last event once it has ended."""
        self.held: deque[tuple[int, JobEvent]] = deque()
        """Ends that wait for their sync."""
        self.timers: list[tuple[float, int, str]] = []
        self.closing = False
        self.busy_at = time.monotonic()
        self.sizes: dict[str, int] = {}
        self.sizes_at = 0.0
        self.waiting: dict[str, int] = {}
        """Why jobs wait, as it was sent last."""
        self.swept_at = 0.0
        self.unswept = False
        """Whether a job has ended since the last search for what it left, or that search found something."""
        self.stuck = False
        self.no_room = ""
        """Why nothing can be started at present."""
        self.room_at = 0.0
        self.reading = 0
        self.pool: ThreadPoolExecutor | None = None
        self.ready: deque[Callable[[], None]] = deque()
        self.selector = selectors.DefaultSelector()
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
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

    # ---- life --------------------------------------------------------------------------------------

    def main(self) -> None:
        """Serve until there is nothing left to do."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        become_subreaper()
        recovery = Recovery(self.folder, self.name, self.stream)
        self.log = KeeperLog(self.folder / f"keeper.{self.stream}.log")
        self.syncer = Syncer(self.log, self._wake)
        self.syncer.start()
        self.selector.register(self.wake_read, selectors.EVENT_READ, self._woken)
        self._recover(recovery)
        self.channel.listen(self.folder / f"{self.name}.socket", self.stream)
        while not self._over():
            for key, _ in self.selector.select(self._timeout()):
                key.data()
            self._turn()
        self.channel.close()

    def _over(self) -> bool:
        if self.running or self.queue or self.held or self.reading:
            self.busy_at = time.monotonic()
            return False
        if self.unswept and time.monotonic() - self.busy_at < STRAY_SECONDS:
            return False
        if self.closing:
            # whether the engine has received every end does not matter: the next keeper reads them from the log
            return self.channel.delivered
        since = max(self.busy_at, self.channel.idle_since)
        return not self.channel.connected and time.monotonic() - since > IDLE_SECONDS

    def _timeout(self) -> float:
        if self.ready or (self.queue and self.can_start):
            return 0.0
        now = time.monotonic()
        wait = self.timers[0][0] - now if self.timers else 10.0
        if self.no_room and self.queue:
            wait = min(wait, self.room_at - now)
        if self.sized and self.slots.sizes() != self.sizes:
            wait = min(wait, self.sizes_at + SIZES_SECONDS - now)
        elif self.sized and len(self.queue) != sum(self.waiting.values()):
            wait = min(wait, self.sizes_at + WAITING_SECONDS - now)
        if self.unswept or self.running:
            wait = min(wait, self._sweep_due() - now)
        wait = min(wait, self.channel.due() - now)
        return max(0.0, min(wait, 10.0))

    def _sweep_due(self) -> float:
        if not self.unswept:
            return self.swept_at + IDLE_SWEEP_SECONDS
        return self.swept_at + (SWEEP_SECONDS if self.running else LAST_SWEEP_SECONDS)

    can_start = False

    def _turn(self) -> None:
        """Do one round: jobs that ended, timers that are due, jobs that can start, events to send."""
        self._reap()
        while self.ready:
            self.ready.popleft()()
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            _, pid, kind = heapq.heappop(self.timers)
            self._due(pid, kind)
        if self.no_room and self.room_at <= now:
            self.can_start = True
        self._start_some()
        self.log.pay()
        self._tell_durable()
        self._tell_sizes(now)
        self._prepare_ahead()
        if (self.unswept or self.running) and now >= self._sweep_due():
            self._sweep()
        self.channel.flush()

    def _wake(self) -> None:
        """Wake the loop; may be called from other threads."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.wake_write, b"w")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, 65536)

    # ---- requests ----------------------------------------------------------------------------------

    def _hello(self, message: list[Any]) -> None:
        asked = message[1]
        if not self.sized:
            self.sized = True
            cores = asked["cores"] or len(os.sched_getaffinity(0))
            self.slots = Slots(asked["nodes"], cores, asked["gpus"])
            self._hold_adopted()
        self.most_nodes = max(asked["nodes"], asked["max_nodes"], len(self.slots.nodes))
        if asked["stream"] == self.stream:
            self.channel.acknowledged(asked["position"])
        self.sizes = self.slots.sizes()
        self.can_start = True
        self.channel.send(
            ["hello", {"stream": self.stream, "cores_per_node": self.slots.cores, "pid": os.getpid(), **self.sizes}]
        )

    def _submit(self, message: list[Any]) -> None:
        answers: list[Any] = []
        for spec in msgspec.convert(message[2], list[JobSpec]):
            ref = (spec.ref.key, spec.ref.attempt)
            if ref in self.seen:
                answers.append(["", False])
                continue
            never = self.slots.never(spec.resources, self.most_nodes)
            if never:
                answers.append([never, False])
                continue
            self.seen[ref] = None
            self.queue[ref] = Waiting(spec, self.run_dir)
            answers.append(["", False])
        self.can_start = True
        self.channel.send(["reply", message[1], answers])

    def _cancel(self, message: list[Any]) -> None:
        _, request, refs, grace = message
        for key, attempt in refs:
            pid = self.pids.get((key, attempt))
            if pid is not None:
                self._end(self.running[pid], "cancelled", grace)
            elif (key, attempt) in self.queue:
                self._cancel_queued((key, attempt))
        self.channel.send(["reply", request, []])

    def _cancel_queued(self, ref: Ref) -> None:
        spec = self.queue.pop(ref).spec
        self.prepared = 0
        self._ended(spec, JobEvent("", "", "inactive", outcome="cancelled", reason="cancelled"))

    def _resize(self, message: list[Any]) -> None:
        self.slots.resize(message[2])
        self.most_nodes = max(self.most_nodes, message[2])
        self.sizes_at = 0.0
        self.can_start = True
        self.channel.send(["reply", message[1], []])

    def _inventory(self, message: list[Any]) -> None:
        items = []
        ending = {(event.key, event.attempt) for _, event in self.held}
        for ref, event in self.seen.items():
            if event is not None:
                items.append([*ref, "inactive", event])
            elif ref in self.pids or ref in ending:
                items.append([*ref, "run", None])
            elif ref in self.queue:
                items.append([*ref, "sched", None])
            else:
                items.append([*ref, "run", None])
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
            for ref in list(self.queue):
                self._cancel_queued(ref)
            for job in list(self.running.values()):
                self._end(job, "cancelled", CLOSE_GRACE)
        self.channel.send(["reply", request, []])

    # ---- starting ----------------------------------------------------------------------------------

    def _start_some(self) -> None:
        for _ in range(SPAWNS_A_TURN):
            if not self.queue or not self.can_start:
                return
            ref, waiting = next(iter(self.queue.items()))
            placement = self.slots.place(waiting.spec.resources)
            if placement is None:
                self.can_start = False
                return
            self.prepared = max(0, self.prepared - 1)
            del self.queue[ref]
            self._start(waiting, placement)

    def _start(self, waiting: Waiting, placement: Placement) -> None:
        spec, files = waiting.spec, waiting.files
        key, attempt = ref = waiting.ref
        try:
            gpus = tuple(gpu for _, _, ids in placement for gpu in ids)
            argv, env = waiting.prepare(self.base, gpus if self.slots.gpus else None)
            os.chdir(spec.workdir)
            self.log.write(Starting(spec))
            failpoint("keeper.before-spawn")
            pid = spawn(argv, env, files)
        except (LaunchError, StagingError, OSError, ValueError) as error:
            if self._lacks_room(error):
                self._wait_for_room(waiting, placement, error)
            else:
                self._not_started(spec, placement, error)
            return
        failpoint("keeper.after-spawn")
        self.no_room = ""
        start = time.time()
        ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS)
        self.log.note(Started(key, attempt, pid, ticks, start))
        self.running[pid] = Running(spec, files, pid, placement, start, ticks)
        self.pids[ref] = pid
        if spec.walltime:
            heapq.heappush(self.timers, (time.monotonic() + spec.walltime, pid, "walltime"))
        hosts = ",".join(node.name for node, _, _ in placement) if len(self.slots.nodes) > 1 else ""
        self.channel.put(JobEvent(self.name, key, "run", start, 0, attempt, native_id=str(pid), hosts=hosts))

    def _prepare_ahead(self) -> None:
        """Make the next jobs ready while the slots are taken."""
        if self.prepared < min(len(self.queue), PREPARED):
            for waiting in islice(self.queue.values(), self.prepared, PREPARED):
                waiting.prepare_ahead(self.base, () if self.slots.gpus else None)
                self.prepared += 1

    def _lacks_room(self, error: Exception) -> bool:
        """Whether the error is of the run's own disk, where all jobs' files go, and not of a disk that a job names."""
        if not isinstance(error, OSError) or error.errno not in NO_STORAGE:
            return False
        return error.filename is None or str(error.filename).startswith(f"{self.run_dir}/")

    def _wait_for_room(self, waiting: Waiting, placement: Placement, error: Exception) -> None:
        """It stays the first of the queue: a disk that is full for a while is no reason to fail all that waits."""
        self.slots.free(placement)
        self.queue[waiting.ref] = waiting
        self.queue.move_to_end(waiting.ref, last=False)
        self.prepared = 0
        self.can_start = False
        self.room_at = time.monotonic() + ROOM_SECONDS
        if not self.no_room:
            text = f"no job can be started until the disk can be written again: {error}"
            self.channel.put(MemberEvent(self.name, "fault", time.time(), text=text))
        self.no_room = str(error)

    def _not_started(self, spec: JobSpec, placement: Placement, error: Exception) -> None:
        self.slots.free(placement)
        self.can_start = True
        text = str(error)
        outcome, reason = "failed", "launch"
        if isinstance(error, StagingError):
            reason = "inputs"
        elif isinstance(error, OSError):
            if error.errno in NO_STORAGE:
                reason = "storage"
            elif error.errno == errno.EEXIST:
                # an earlier process claimed this attempt and left no record of its end: it is not run again
                outcome, reason, text = "lost", "infrastructure", "the attempt was started before; its end is unknown"
            text = text or os.strerror(error.errno or 0)
        self._ended(spec, JobEvent("", "", "inactive", outcome=outcome, reason=reason, text=text))

    # ---- ending ------------------------------------------------------------------------------------

    def _end(self, job: Running, why: str, grace: float) -> None:
        """Ask a job to end, and see to it after `grace` seconds."""
        if job.killed:
            return
        job.killed = why
        self._signal(job.pid, signal.SIGTERM)
        heapq.heappush(self.timers, (time.monotonic() + grace, job.pid, "kill"))

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)

    def _due(self, pid: int, kind: str) -> None:
        job = self.running.get(pid)
        if job is None:
            return
        if kind == "adopted":
            self._adopted_ended(next(one for one in self.adopted if one.pid == pid))
        elif kind == "walltime":
            self._end(job, "walltime", float(job.spec.options.get("grace", 10.0)))
        elif job.killed:
            self._signal(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            job = self.running.pop(pid, None)
            if job is not None:
                # while its leader is not reaped the group's number cannot be anybody else's
                self._signal(pid, signal.SIGKILL)
                self._finish(job, wait_status(found), job.now())
                # one write takes how it ended and what starts in its place
                self._start_some()
                # and it is written before it is reaped: after that nobody else can see it
                self.log.pay()
                failpoint("keeper.after-exit-record")
            os.waitpid(pid, 0)
            failpoint("keeper.after-reap")

    def _finish(self, job: Running, status: int | None, now: float) -> None:
        """A process of ours ended with this wait status (None: nobody saw it) at `now`."""
        spec = job.spec
        self.pids.pop((spec.ref.key, spec.ref.attempt), None)
        self._give_back(job)
        event = job.end(status, now)
        self.unswept = True
        if job.strays:
            self._sweep()
        if spec.outputs and status is not None:
            self.log.note(Exited(spec.ref.key, spec.ref.attempt, status))
            self._read_figures(job, event)
        else:
            self._ended(spec, event, job)

    def _read_figures(self, job: Running, event: JobEvent) -> None:
        if self.pool is None:
            self.pool = ThreadPoolExecutor(2)
        self.reading += 1

        def work() -> None:
            outputs = job.spec.outputs
            try:
                figures, missing = read_figures(outputs, job.spec.workdir, job.files.stdout, job.files.stderr)
            except Exception:
                # whatever it was, the job has ended: its figures are what is missing
                figures, missing = {}, [output.name for output in outputs]

            def back() -> None:
                self.reading -= 1
                self._ended(
                    job.spec, msgspec.structs.replace(event, figures=figures or None, missing=tuple(missing)), job
                )

            self.ready.append(back)
            self._wake()

        self.pool.submit(work)

    def _ended(self, spec: JobSpec, event: JobEvent, job: Running | None = None) -> None:
        """Record an end; the engine gets the event once the record is durable."""
        full = msgspec.structs.replace(
            event,
            member=self.name,
            key=spec.ref.key,
            attempt=spec.ref.attempt,
            time=event.time or time.time(),
        )
        failpoint("keeper.before-exit-record")
        self.log.note(Ended(full))
        keep = spec.keep
        if job is not None and (keep == "none" or (keep == "failed" and full.outcome == "success")):
            shutil.rmtree(spec.workdir, ignore_errors=True)
        self.held.append((self.syncer.want(), full))

    def _tell_durable(self) -> None:
        if not self.syncer.is_alive():
            raise RuntimeError("the thread that makes ends durable is gone")
        done, error = self.syncer.done, self.syncer.error or self.syncer.late(SYNC_STUCK_SECONDS)
        if error and not self.stuck:
            self.channel.put(
                MemberEvent(self.name, "fault", time.time(), text=f"its keeper cannot write down ends: {error}")
            )
        self.stuck = bool(error)
        while self.held and self.held[0][0] <= done:
            _, event = self.held.popleft()
            self.seen[event.key, event.attempt] = event
            self.channel.put(event)

    def _give_back(self, job: Running) -> None:
        if job.placement:
            self.slots.free(job.placement)
            job.placement = []
            self.can_start = True

    def _tell_sizes(self, now: float) -> None:
        if not self.sized or now - self.sizes_at < SIZES_SECONDS:
            return
        sizes = self.slots.sizes()
        late = len(self.queue) != sum(self.waiting.values()) and now - self.sizes_at >= WAITING_SECONDS
        if sizes == self.sizes and not late:
            return
        self.sizes, self.sizes_at = sizes, now
        before, self.waiting = self.waiting, self._why_jobs_wait()
        event = MemberEvent(
            self.name,
            "nodes",
            time.time(),
            queue={"sched": len(self.queue), "run": len(self.running)},
            waiting=self.waiting if self.waiting != before else None,
        )
        self.channel.put(msgspec.structs.replace(event, **sizes))

    def _why_jobs_wait(self) -> dict[str, int]:
        """What the first of the waiting jobs lacks: the others wait behind it."""
        if not self.queue:
            return {}
        need = next(iter(self.queue.values())).spec.resources
        if self.no_room:
            why = f"room on the disk: {self.no_room}"
        elif need.total_gpus > (free := self.slots.gpus_free()):
            gpus = self.sizes["gpus_up"]
            why = f"GPUs: {gpus - free} of {gpus} busy"
        else:
            cores = self.sizes["cores_up"]
            why = f"cores: {cores - self.sizes['cores_free']} of {cores} busy"
        return {why: len(self.queue)}

    def _sweep(self) -> None:
        """End what outlived its job outside the job's process group: a daemon, or an MPI proxy."""
        self.swept_at = time.monotonic()
        self.unswept = end_strays(self.run_dir, self.running, self.pids, self.recovery.orphans())

    # ---- what an earlier keeper left ---------------------------------------------------------------

    def _recover(self, recovery: Recovery) -> None:
        self.recovery = recovery
        for ref, event in recovery.ended.items():
            self.seen[ref] = event
        self.adopted = recovery.running
        for one in self.adopted:
            self.seen[one.ref] = None
            files = JobFiles(self.run_dir, *one.ref)
            job = Running(recovery.spec_of(one.ref), files, one.pid, [], one.start, one.ticks)
            self.running[one.pid] = job
            self.pids[one.ref] = one.pid
            try:
                job.pidfd = os.pidfd_open(one.pid)
            except ProcessLookupError:
                self.ready.append(lambda one=one: self._adopted_ended(one))  # type: ignore[misc]
                continue
            self.selector.register(job.pidfd, selectors.EVENT_READ, lambda one=one: self._adopted_ended(one))
        for ref, start, status in recovery.unseen:
            # it ended while no keeper was there: the guard saw how, or nobody did
            spec = recovery.spec_of(ref)
            job = Running(spec, JobFiles(self.run_dir, *ref), 0, [], start, 0)
            self.seen[ref] = None
            self._finish(job, status, time.time())

    def _hold_adopted(self) -> None:
        for one in self.adopted:
            job = self.running.get(one.pid)
            if job is not None:
                job.placement = self.slots.hold(job.spec.resources, gpus_of_process(one.pid))

    def _adopted_ended(self, one: Adopted) -> None:
        job = self.running.get(one.pid)
        if job is None:
            return
        _, status = self.recovery.end_of(one)
        if job.pidfd >= 0:
            self.selector.unregister(job.pidfd)
            os.close(job.pidfd)
            job.pidfd = -1
        if status is None and stat_of(one.pid)[:1] == ["Z"] and self.recovery.guarded(one.stream):
            # another user's zombie (setuid) does not show its status: the guard is about to write it
            heapq.heappush(self.timers, (time.monotonic() + 0.02, one.pid, "adopted"))
            return
        self._signal(one.pid, signal.SIGKILL)
        del self.running[one.pid]
        self._finish(job, status, job.now())


def main() -> None:
    """Run a keeper: arguments are the run directory, the member's name and the stream's."""
    code = 1
    try:
        Keeper(*sys.argv[1:4]).main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # at once: a thread that hangs would keep a process alive that nobody can speak with
        os._exit(code)
