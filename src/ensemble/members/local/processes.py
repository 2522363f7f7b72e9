"""The processes of jobs that run, ours and those of earlier keepers: how they are ended, reaped and cleaned up after.

How a process ended is written before it is reaped: after that nobody else can see it.
"""

from __future__ import annotations

__all__ = ["Processes"]

import contextlib
import heapq
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ensemble.members.kit.files import JobFiles
from ensemble.members.local.ends import Ends
from ensemble.members.local.guard import children_of, stat_of, wait_status
from ensemble.members.local.records import KeeperLog
from ensemble.members.local.recovery import TICKS, Adopted, Recovery, Ref, gpus_of_process, ref_of_process
from ensemble.members.local.running import Running
from ensemble.members.local.slots import Placement, Slots
from ensemble.model.failpoints import failpoint

SWEEP_SECONDS: Final = 0.1
"""Least time between two searches for processes that outlived their job; they begin when a job ends."""
LAST_SWEEP_SECONDS: Final = 0.01
"""The same, when no job runs."""
IDLE_SWEEP_SECONDS: Final = 2.0
"""The longest time between two searches while jobs run."""
LOOK_SECONDS: Final = 0.02
"""Between two looks at what a guard is about to write."""
SLACK_SECONDS: Final = 2.0
"""The start of a job is noted that much late at most, on a machine that is loaded."""


class Processes:
    """All processes of jobs, by pid and by attempt."""

    def __init__(
        self,
        run_dir: str,
        log: KeeperLog,
        ends: Ends,
        recovery: Recovery,
        selector: selectors.BaseSelector,
        freed: Callable[[Placement], None],
    ) -> None:
        """`freed` is called with what a job held that has ended."""
        self._run_dir = run_dir
        self._log = log
        self._ends = ends
        self._recovery = recovery
        self._selector = selector
        self._freed = freed
        self.running: dict[int, Running] = {}
        self._pids: dict[Ref, int] = {}
        self._adopted: dict[int, Adopted] = {}
        """Those of earlier keepers, whose parent is a guard."""
        self._timers: list[tuple[float, int, str]] = []
        """(when, pid, what): `walltime`, `kill`, or `adopted` for a look at one of an earlier keeper."""
        self._swept_at = 0.0
        self.unswept = False
        """Whether a job has ended since the last search for what it left, or that search found something."""

    def add(self, job: Running) -> None:
        """Watch over a process."""
        self.running[job.pid] = job
        self._pids[job.spec.ref.key, job.spec.ref.attempt] = job.pid
        if job.spec.walltime:
            left = job.spec.walltime - (job.now() - job.start)
            self._at(time.monotonic() + left, job.pid, "walltime")

    def _at(self, when: float, pid: int, what: str) -> None:
        heapq.heappush(self._timers, (when, pid, what))

    def due(self) -> float:
        """When (monotonic seconds) there is something to do."""
        first = self._timers[0][0] if self._timers else float("inf")
        return min(first, self._sweep_due())

    def run_timers(self, now: float) -> None:
        """End what has run into its walltime or its grace."""
        while self._timers and self._timers[0][0] <= now:
            _, pid, what = heapq.heappop(self._timers)
            job = self.running.get(pid)
            if job is None:
                continue
            if what == "adopted":
                self._adopted_ended(self._adopted[pid])
            elif what == "walltime":
                self._end(job, "walltime", float(job.spec.options.get("grace", 10.0)))
            elif job.killed:
                _signal(pid, signal.SIGKILL)

    # ---- ending ------------------------------------------------------------------------------------

    def cancel(self, ref: Ref, grace: float) -> None:
        """End the process of an attempt, if there is one."""
        pid = self._pids.get(ref)
        if pid is not None:
            self._end(self.running[pid], "cancelled", grace)

    def cancel_all(self, grace: float) -> None:
        """End every process."""
        for job in list(self.running.values()):
            self._end(job, "cancelled", grace)

    def _end(self, job: Running, why: str, grace: float) -> None:
        """Ask a job to end, and see to it after `grace` seconds."""
        if job.killed:
            return
        job.killed = why
        _signal(job.pid, signal.SIGTERM)
        self._at(time.monotonic() + grace, job.pid, "kill")

    def reap(self, refill: Callable[[], None]) -> None:
        """Record and reap what has ended; after each `refill` starts what takes its place."""
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
                _signal(pid, signal.SIGKILL)
                self._finish(job, wait_status(found), job.now())
                # one write takes how it ended and what starts in its place
                refill()
                # and it is written before it is reaped: after that nobody else can see it
                self._log.pay()
                failpoint("keeper.after-exit-record")
            os.waitpid(pid, 0)
            failpoint("keeper.after-reap")

    def _finish(self, job: Running, status: int | None, now: float) -> None:
        """A process ended with this wait status (None: nobody saw it) at `now`."""
        self._pids.pop((job.spec.ref.key, job.spec.ref.attempt), None)
        if job.placement:
            self._freed(job.placement)
            job.placement = []
        event = job.end(status, now)
        self.unswept = True
        if job.strays:
            self._sweep()
        self._ends.finish(job, status, event)

    # ---- what jobs leave behind --------------------------------------------------------------------

    def _sweep_due(self) -> float:
        if self.unswept:
            return self._swept_at + (SWEEP_SECONDS if self.running else LAST_SWEEP_SECONDS)
        return self._swept_at + IDLE_SWEEP_SECONDS if self.running else float("inf")

    def sweep(self, now: float) -> None:
        """Search for what outlived its job, where that is due."""
        if now >= self._sweep_due():
            self._sweep()

    def _sweep(self) -> None:
        """End what outlived its job outside the job's process group: a daemon, or an MPI proxy."""
        self._swept_at = time.monotonic()
        self.unswept = _end_strays(self._run_dir, self.running, self._pids, self._recovery.orphans())

    # ---- what earlier keepers left -----------------------------------------------------------------

    def adopt(self) -> None:
        """Take over the processes of earlier keepers, and record the ends that no keeper saw."""
        for one in self._recovery.running:
            self._ends.known[one.ref] = None
            spec = self._recovery.spec_of(one.ref)
            job = Running(spec, JobFiles(self._run_dir, *one.ref), one.pid, [], one.start, one.ticks)
            self._adopted[one.pid] = one
            self.add(job)
            try:
                job.pidfd = os.pidfd_open(one.pid)
            except ProcessLookupError:
                self._at(0.0, one.pid, "adopted")
                continue
            self._selector.register(job.pidfd, selectors.EVENT_READ, lambda one=one: self._adopted_ended(one))
        for ref, start, status in self._recovery.unseen:
            # it ended while no keeper was there: the guard saw how, or nobody did
            spec = self._recovery.spec_of(ref)
            self._ends.known[ref] = None
            self._finish(Running(spec, JobFiles(self._run_dir, *ref), 0, [], start, 0), status, time.time())

    def hold_adopted(self, slots: Slots) -> None:
        """Let the processes of earlier keepers hold what they use."""
        for pid in self._adopted:
            job = self.running.get(pid)
            if job is not None:
                job.placement = slots.hold(job.spec.resources, gpus_of_process(pid))

    def _adopted_ended(self, one: Adopted) -> None:
        job = self.running.get(one.pid)
        if job is None:
            return
        _, status = self._recovery.end_of(one)
        if job.pidfd >= 0:
            self._selector.unregister(job.pidfd)
            os.close(job.pidfd)
            job.pidfd = -1
        if status is None and stat_of(one.pid)[:1] == ["Z"] and self._recovery.guarded(one.stream):
            # another user's zombie (setuid) does not show its status: the guard is about to write it
            self._at(time.monotonic() + LOOK_SECONDS, one.pid, "adopted")
            return
        _signal(one.pid, signal.SIGKILL)
        del self.running[one.pid]
        self._finish(job, status, job.now())


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _end_strays(run_dir: str, running: Mapping[int, Running], refs: Mapping[Ref, int], others: Iterable[int]) -> bool:
    """End the children of this process, and of the guards (`others`), that outlived their job; true if there were any.

    `running` has the jobs that run by pid, `refs` their pids by attempt. The keeper is a child subreaper: whatever a
    job started, in whichever session, becomes its child when the process between them ends. Whose it is its environment
    says. One without that mark was started by one of the jobs that ran when it began: it is ended when none of them
    runs any more. What comes to light when it ends is found by the next call.
    """
    found = False
    for pid in (*children_of(os.getpid()), *others):
        if pid in running:
            continue
        fields = stat_of(pid)
        if not fields or fields[0] in "ZX":
            continue
        ref = ref_of_process(pid, run_dir)
        if ref in refs if ref is not None else _may_be_of_a_job(int(fields[19]) / TICKS, running):
            continue
        found = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found


def _may_be_of_a_job(began: float, running: Mapping[int, Running]) -> bool:
    """Whether one of the jobs that run was there at that time (seconds since boot)."""
    return any(job.began <= began + SLACK_SECONDS for job in running.values())
