"""A queue in virtual time: jobs, nodes and a scheduler, without a clock, a thread or a wait.

The one who drives it says what time it is. Whatever happens is handed to `emit` at once, in order. A finished job is
forgotten: memory follows what is open.
"""

from __future__ import annotations

__all__ = ["JobShape", "SimulatedQueue"]

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from math import inf, log
from random import Random
from typing import Any, Final

from ensemble.model.events import JobEvent, MemberEvent
from ensemble.simulation.backfill import start_behind
from ensemble.simulation.draws import group_seed, job_seed
from ensemble.simulation.jobs import DONE, QUEUED, RUNNING, STARTING, JobShape, SimulatedJob
from ensemble.simulation.options import SimulatedOptions
from ensemble.simulation.pool import Pool

Emit = Callable[[JobEvent | MemberEvent], Any]

SIZES_SECONDS: Final = 0.5
"""The shortest time between two reports of what is free, where nodes do not come or go."""

_END, _RUN, _NODE_COMES, _NODE_FAILS, _REPORT = range(5)


class SimulatedQueue:
    """Nodes, a queue of jobs and a scheduler."""

    def __init__(
        self,
        name: str,
        nodes: int,
        cores: int,
        gpus: int,
        options: SimulatedOptions,
        emit: Emit,
        *,
        seed: int = 0,
        now: float = 1.0,
        max_nodes: int = 0,
        watched: bool = False,
        numbered: bool = False,
    ) -> None:
        """`cores` and `gpus` are of one node. `now` is the first time on the clock, in seconds.

        `watched`: report what is free whenever that changes (at most every half second), not just when nodes come or
        go. `numbered`: count the events in `n`.
        """
        self.name = name
        self.now = now
        self.emit = emit
        self.options = options
        self.pool = Pool(nodes, cores, gpus)
        self.max_nodes = max(nodes, max_nodes)
        self.target = nodes
        self.n = 0
        self.waiting: deque[SimulatedJob] = deque()
        self.running: dict[SimulatedJob, None] = {}
        self.held_node_seconds = 0.0
        self.up_core_seconds = 0.0
        self.busy_core_seconds = 0.0
        self.cores_busy = 0
        self._counted_to = now
        self._step = 1 if numbered else 0
        self._watched = watched
        self._jobs: dict[str, SimulatedJob] = {}
        """Jobs that have not ended."""
        self._happenings: list[tuple[float, int, int, Any]] = []
        self._order = 0
        self._random = Random()
        self._seed = seed
        self._draws = 0
        self._coming = 0
        """Nodes asked for and not there yet."""
        self._reported_at = -inf
        self._report_due = False
        self._why: dict[str, int] = {}
        """Why jobs wait, as it was sent last."""
        self._backfill = options.scheduler == "backfill"
        self._draining = False
        for number in range(nodes):
            self._await_failure(number)

    # ---- what others ask ---------------------------------------------------------------------------

    def never(self, shape: JobShape) -> str:
        """Why such a job can never run here, however far the machine grows; empty when it can."""
        return self.pool.never(shape.need, self.max_nodes)

    def submit(self, shape: JobShape, group: str, first: int, count: int = 1, attempt: int = 1) -> None:
        """Take jobs `<group>-<first>` and so on; those that fit start at once."""
        waiting, jobs = self.waiting, self._jobs
        for number in range(first, first + count):
            job = SimulatedJob(f"{group}-{number}", number, attempt, shape)
            jobs[job.key] = job
            waiting.append(job)
        self._schedule()
        if waiting and self._step:
            self._changed()

    def has(self, key: str, attempt: int) -> bool:
        """Whether this attempt waits or runs here."""
        job = self._jobs.get(key)
        return job is not None and job.attempt == attempt

    def cancel(self, refs: Iterable[tuple[str, int]]) -> None:
        """End attempts; of those that are not here nothing happens."""
        for key, attempt in refs:
            job = self._jobs.get(key)
            if job is not None and job.attempt == attempt:
                ran = job.state == RUNNING
                self._over(job)
                self._ended(job, "cancelled", "cancelled", -1, 15 if ran else 0, None)
        # only now, so that none starts that is about to be cancelled
        self._schedule()
        if self._draining:
            self._closed()

    def resize(self, nodes: int) -> None:
        """Bring the machine to `nodes` nodes: more come after their provisioning, fewer as they become idle."""
        self.target = nodes
        self.max_nodes = max(self.max_nodes, nodes)
        self._count_up()
        before = self.pool.nodes_up
        self.pool.keep(nodes)
        self.pool.shrink(nodes)
        self._ask_for_nodes()
        if self.pool.nodes_up != before:
            self._report()
        self._schedule()

    def stop(self, mode: str) -> None:
        """Take no more jobs, and end those there are when `mode` is `cancel`; `closed` is sent when all is over."""
        self._draining = True
        if mode == "cancel":
            self.cancel([(job.key, job.attempt) for job in self._jobs.values()])
        else:
            self._closed()

    def next_time(self) -> float:
        """When something happens next if nobody asks for anything; infinity when nothing will."""
        happenings = self._happenings
        while happenings and happenings[0][2] == _END and happenings[0][3].state != RUNNING:
            heappop(happenings)  # of jobs that were cancelled
        return happenings[0][0] if happenings else inf

    def advance(self, until: float) -> None:
        """Let everything happen up to and including `until`."""
        happenings = self._happenings
        while happenings and happenings[0][0] <= until:
            time, _, kind, what = heappop(happenings)
            self.now = time
            if kind == _END:
                if what.state != RUNNING:
                    continue
                self._end(what)
                # all that ends at one instant frees its place before others start
                while happenings and happenings[0][0] == time and happenings[0][2] == _END:
                    what = heappop(happenings)[3]
                    if what.state == RUNNING:
                        self._end(what)
                if self._draining:
                    self._closed()
            elif kind == _RUN:
                if what.state == STARTING:
                    self._run(what)
            elif kind == _NODE_COMES:
                self._node_comes()
            elif kind == _NODE_FAILS:
                self._node_fails(what)
            else:
                self._report()
            if self.waiting:
                self._schedule()
        if until > self.now and until != inf:
            self.now = until

    def open_jobs(self) -> list[SimulatedJob]:
        """Every job that waits or runs."""
        return list(self._jobs.values())

    @property
    def busy(self) -> bool:
        """Whether anything is under way but the ageing of the nodes."""
        return bool(self._jobs or self._coming or self._report_due)

    def sizes(self) -> dict[str, int]:
        """nodes_up, nodes_free, cores_up, cores_free, gpus_up."""
        pool = self.pool
        return {
            "nodes_up": pool.nodes_up,
            "nodes_free": pool.nodes_free,
            "cores_up": pool.nodes_up * pool.cores,
            "cores_free": pool.cores_free,
            "gpus_up": pool.nodes_up * pool.gpus,
        }

    def settle(self) -> None:
        """Bring the sums of node and core seconds up to now."""
        self._count_up()

    # ---- jobs --------------------------------------------------------------------------------------

    def fate(self, job: SimulatedJob) -> float:
        """Draw how a job goes, once; return how long it takes, its walltime considered."""
        fate = job.shape.model.fixed
        if fate is None:
            self._random.seed(job_seed(job.shape.seed, job.number, job.attempt))
            fate = job.shape.model.fate(self._random)
        job.fate = fate
        walltime = job.shape.walltime
        job.takes = walltime if walltime and fate.duration > walltime else fate.duration
        return job.takes

    def expected(self, job: SimulatedJob) -> float:
        """How long the scheduler thinks a job takes: its walltime, and without one the truth."""
        if job.shape.walltime:
            return job.shape.walltime
        return job.takes if job.fate is not None else self.fate(job)

    def _schedule(self) -> None:
        waiting, take = self.waiting, self.pool.take
        while waiting:
            job = waiting[0]
            if job.state == QUEUED:
                placement = take(job.shape.need)
                if placement is None:
                    break
                job.placement = placement
                self.start(job)
            waiting.popleft()
        if self._backfill and len(waiting) > 1:
            start_behind(self)

    def start(self, job: SimulatedJob) -> None:
        """A job has its place: `job.placement` is taken."""
        placement = job.placement
        cores = placement[0][1]
        if len(placement) > 1:
            cores = 0
            for _, taken, _ in placement:
                cores += taken
        job.cores = cores
        self._count_up()
        self.cores_busy += cores
        self.running[job] = None
        if self.options.overhead:
            job.state = STARTING
            job.started = self.now + self.options.overhead
            self._order += 1
            heappush(self._happenings, (job.started, self._order, _RUN, job))
        else:
            job.started = self.now
            self._run(job)
        if self._watched:
            self._changed()

    def _run(self, job: SimulatedJob) -> None:
        job.state = RUNNING
        takes = job.takes if job.fate is not None else self.fate(job)
        now = self.now
        self.n += self._step
        self.emit(JobEvent(self.name, job.key, "run", now, self.n, job.attempt, hosts=self._hosts(job)))
        self._order += 1
        heappush(self._happenings, (now + takes, self._order, _END, job))

    def _hosts(self, job: SimulatedJob) -> str:
        names = self.pool.names
        placement = job.placement
        if len(placement) == 1:
            return names[placement[0][0]]
        return ",".join([names[number] for number, _, _ in placement])

    def _end(self, job: SimulatedJob) -> None:
        fate = job.fate
        assert fate is not None
        self._over(job)
        if job.takes < fate.duration:
            self._ended(job, "failed", "walltime", -1, 15, None)
        elif fate.reason:
            self._ended(job, "failed", fate.reason, fate.exit_code, fate.signal, None)
        else:
            self._ended(job, "success", "", 0, 0, fate.figures)

    def _over(self, job: SimulatedJob) -> None:
        """A job leaves: its place is free."""
        if job.state in (RUNNING, STARTING):
            self._count_up()
            self.cores_busy -= job.cores
            del self.running[job]
            if self.pool.give(job.placement):
                self._report()
            elif self._watched:
                self._changed()
        job.state = DONE
        del self._jobs[job.key]

    def _ended(
        self,
        job: SimulatedJob,
        outcome: str,
        reason: str,
        code: int,
        signal: int,
        figures: dict[str, float] | None,
    ) -> None:
        self.n += self._step
        self.emit(
            JobEvent(
                self.name,
                job.key,
                "inactive",
                self.now,
                self.n,
                job.attempt,
                0,
                outcome,
                reason,
                code,
                signal,
                0.0,
                figures,
            )
        )

    # ---- nodes -------------------------------------------------------------------------------------

    def _draw(self, what: str) -> Callable[[], float]:
        """A generator of its own for the next thing that is left to chance here."""
        self._draws += 1
        self._random.seed(job_seed(group_seed(self._seed, f"{self.name}/{what}"), self._draws, 0))
        return self._random.random

    def _after(self, seconds: float, kind: int, what: Any = None) -> None:
        self._order += 1
        heappush(self._happenings, (self.now + max(0.0, seconds), self._order, kind, what))

    def _ask_for_nodes(self) -> None:
        provision = self.options.provision
        while self.pool.staying + self._coming < self.target:
            if provision is None:
                self._await_failure(self.pool.add())
            else:
                self._coming += 1
                self._after(provision(self._draw("provision")), _NODE_COMES)

    def _node_comes(self) -> None:
        self._coming -= 1
        if self.pool.staying < self.target:
            self._count_up()
            self._await_failure(self.pool.add())
            self._report()

    def _await_failure(self, number: int) -> None:
        mtbf = self.options.node_mtbf
        if mtbf:
            self._after(-mtbf * log(1.0 - self._draw("failure")()), _NODE_FAILS, number)

    def _node_fails(self, number: int) -> None:
        self._count_up()
        if not self.pool.fail(number):
            return
        for job in [job for job in self.running if any(node == number for node, _, _ in job.placement)]:
            self._over(job)
            self._ended(job, "lost", "infrastructure", -1, 0, None)
        if self.options.node_repair is not None and self.pool.staying + self._coming < self.target:
            self._coming += 1
            self._after(self.options.node_repair(self._draw("repair")), _NODE_COMES)
        self._report()

    def _count_up(self) -> None:
        seconds = self.now - self._counted_to
        if seconds > 0.0:
            nodes = self.pool.nodes_up
            self.held_node_seconds += seconds * nodes
            self.up_core_seconds += seconds * nodes * self.pool.cores
            self.busy_core_seconds += seconds * self.cores_busy
            self._counted_to = self.now

    def _changed(self) -> None:
        """What is free has changed: report it soon."""
        if not self._report_due:
            self._report_due = True
            self._after(self._reported_at + SIZES_SECONDS - self.now, _REPORT)

    def _report(self) -> None:
        self._report_due = False
        self._reported_at = self.now
        self.n += self._step
        sizes = self.sizes()
        waiting = len(self._jobs) - len(self.running)
        self.emit(
            MemberEvent(
                self.name,
                "nodes",
                self.now,
                self.n,
                nodes_up=sizes["nodes_up"],
                nodes_free=sizes["nodes_free"],
                cores_up=sizes["cores_up"],
                cores_free=sizes["cores_free"],
                gpus_up=sizes["gpus_up"],
                queue={"sched": waiting, "run": len(self.running)},
                waiting=self._why_jobs_wait(waiting, sizes) if self._step else None,
            )
        )

    def _why_jobs_wait(self, jobs: int, sizes: dict[str, int]) -> dict[str, int] | None:
        """None where that has not changed since it was sent."""
        up = sizes["cores_up"]
        why = {f"cores: {up - sizes['cores_free']} of {up} busy": jobs} if jobs else {}
        if why == self._why:
            return None
        self._why = why
        return why

    def _closed(self) -> None:
        if not self._jobs and self._draining:
            self._draining = False
            self.n += self._step
            self.emit(MemberEvent(self.name, "closed", self.now, self.n))
