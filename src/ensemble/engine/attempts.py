"""The life of a job, from its first submission to its end: its events, and the effects that retry or finish it."""

from __future__ import annotations

from heapq import heappush
from typing import Final

from ensemble.engine.backlog import REFILL, Backlog
from ensemble.engine.budget import note_begun
from ensemble.engine.build import Builder
from ensemble.engine.impact import WAITS, WAKES, Impact
from ensemble.engine.state import CANCELLED, PARKED, PAUSE, Job, Member, State, count
from ensemble.engine.transitions import CLEANUP, CODES, DEPEND, INACTIVE, NEW, RUN, SCHED, SUBMITTED, history, move
from ensemble.model.decisions import Cancel, Finish, Note, Retry
from ensemble.model.events import JobEvent
from ensemble.model.jobs import OUTCOMES, split_key

_NOTHING: Final = 1e-9
"""Nodes that are none: what rounding leaves of a sum."""

_RAN: Final = ("pending", "running", "~pending")
_AGAIN: Final = ("running", "pending")
_FAILED: Final = ("failed_attempts",)
_TEXTS: Final = 20
"""Reasons of cancelled attempts that are counted each by itself."""
_OVER: Final = {
    (ran, outcome): ("running" if ran else "pending", "active", "finished", outcome)
    for ran in (True, False)
    for outcome in OUTCOMES
}
_MEASURED: Final = (*_OVER[True, "success"], "~duration", "~node_hours", "~cost")


class Attempts:
    """Carries out what concerns one job under way."""

    __slots__ = ("_budgeted", "_jobs", "_members", "backlog", "builder", "impact", "state")

    def __init__(self, state: State, builder: Builder, impact: Impact, backlog: Backlog) -> None:
        self.state = state
        self.builder = builder
        self.impact = impact
        self.backlog = backlog
        self._jobs = state.jobs
        self._budgeted = builder.plan.budgeted
        self._members = state.members

    # ---- events ------------------------------------------------------------------------------------

    def job(self, event: JobEvent) -> None:
        """A job changed state. What cannot be a change (repeated, stale, late) changes nothing."""
        n = event.n
        if n:
            member = self._members[event.member]
            if n <= member.position:
                return
            member.position = n
        job = self._jobs.get(event.key)
        if job is None:
            self._stranger(event)
            return
        if event.attempt != job.attempt or event.incarnation < job.incarnation:
            return
        before = job.code
        if before == NEW:
            if event.state != "new":
                # a member cannot know of an attempt that was never sent
                self._remark("illegal-transition", f"{event.state} before it was submitted: {history(job)}", job.key)
            return
        if event.incarnation > job.incarnation:
            self._restart(job, event.incarnation)
            before = SUBMITTED
        code = CODES[event.state]
        if event.reason == "duplicate":
            # the other holder of this ref is the one that counts
            self._remark("duplicate", f"{job.key}.{job.attempt} was started twice and ran once", job.key)
            return
        if code <= before:
            return
        # the move "report", written out: most of what an event costs is here
        job.code = code
        if code >= RUN:
            self._begun(job, event, before, code)
        on = job.group.on
        if on:
            self._wake(job, before, code)
        if code == INACTIVE:
            job.last = event
            if event.outcome == "cancelled" and not job.cancelling:
                self._cancelled_outside(event)
            if event.outcome == "success" and not job.point.conditional:
                self.finished(job, "success", "")
                if event.missing:
                    self.impact.over.append(job)
            else:
                self.impact.over.append(job)

    def _cancelled_outside(self, event: JobEvent) -> None:
        """Count an attempt that its queue reports as cancelled, unless its member was asked to end all that it has."""
        state = self.state
        if state.terminating or self._members[event.member].state == "closed":
            return
        counts = state.cancelled_outside
        text = event.text if event.text in counts or len(counts) < _TEXTS else ""
        counts[text] = counts.get(text, 0) + 1

    def _begun(self, job: Job, event: JobEvent, before: int, code: int) -> None:
        """It runs, or has run: when from and until when, by its member's clock."""
        if event.hosts:
            job.hosts = event.hosts
        if before < RUN:
            if code < INACTIVE or event.start or event.outcome == "success" or event.exit_code >= 0:
                self._running(job, event)
            elif job.waits:
                self.stop_waiting(job)
        elif event.start and code == INACTIVE:
            # who saw the whole attempt knows best: the event of its start may have come from a later inventory
            job.run_time = event.start
        if code >= CLEANUP and not job.ended:
            job.ended = event.time

    def _wake(self, job: Job, before: int, code: int) -> None:
        wake, group, point = self.impact.wake, job.group, job.point
        if before < DEPEND <= code:
            wake(group, point, "job-depend", job)
        if before < SCHED <= code:
            wake(group, point, "job-sched", job)
        if before < RUN <= code and job.run_at:
            wake(group, point, "job-run", job)
        if before < CLEANUP <= code:
            wake(group, point, "job-cleanup", job)

    def _stranger(self, event: JobEvent) -> None:
        """An event of a job that is not under way: late after its end (normal), or of a job that never was."""
        try:
            name, number = split_key(event.key)
        except ValueError:
            name, number = "", 0
        group = self.state.groups.get(name)
        if group is not None and number >= 0 and group.is_done(number):
            return
        self._remark("unknown-job", f"{event.member} sent {event.state} of {event.key}, which is no job")

    def _remark(self, name: str, text: str, key: str = "") -> None:
        self.impact.remarks.append(Note(name, text, key))

    def _restart(self, job: Job, incarnation: int) -> None:
        """The queue itself started the job again: it waits once more."""
        if job.run_at:
            for cell in job.point.cells:
                cell.running -= 1
                cell.pending += 1
                self.impact.touch(cell, _AGAIN)
            if self._budgeted:
                self._stop_running(job, self._members[job.member])
        job.incarnation = incarnation
        move(job, "restart")
        job.run_at = job.run_time = job.ended = 0.0
        job.last = None
        if self._budgeted:
            note_begun(self.state, job)

    def _running(self, job: Job, event: JobEvent) -> None:
        now = self.state.now
        job.run_at = now
        job.run_time = event.start or event.time
        since = job.submitted_at
        point = job.point
        if self._budgeted:
            member = self._members[job.member]
            member.running_nodes += job.nodes
            member.running_since += job.nodes * (now - self.state.started)
            note_begun(self.state, job)
        if job.waits:
            job.waits = False
            wait = now - since
            for cell in point.measured:
                cell.waits.finish(since, wait)
        for cell in point.cells:
            cell.pending -= 1
            cell.running += 1
            if cell.watch is not None:
                self.impact.touch(cell, _RAN)

    def _stop_running(self, job: Job, member: Member) -> None:
        """Take a job out of what runs on a member."""
        member.running_nodes -= job.nodes
        member.running_since -= job.nodes * (job.run_at - self.state.started)
        if abs(member.running_nodes) < _NOTHING:
            # what rounding has left
            member.running_nodes = member.running_since = 0.0

    def stop_waiting(self, job: Job) -> None:
        """It ended without ever running: its wait is no observation."""
        job.waits = False
        for cell in job.point.measured:
            cell.waits.leave(job.submitted_at)
            if cell.watch is not None:
                self.impact.touch(cell, WAITS)

    # ---- ends --------------------------------------------------------------------------------------

    def _let_go(self, job: Job) -> float:
        """The attempt is no longer with its member; return the node-seconds it used."""
        state = self.state
        point = job.point
        group = job.group
        member = self._members[job.member]
        member.outstanding -= 1
        member.outstanding_cores -= point.cores
        group.outstanding -= 1
        event = job.last
        used = 0.0
        if job.run_time and event is not None:
            used = job.nodes * max(0.0, (job.ended or event.time) - job.run_time)
            state.spent_node_seconds += used
            if not member.holds:
                state.spent_cost += used / 3600.0 * member.price
        if self._budgeted:
            if job.run_at:
                self._stop_running(job, member)
            if job.piece is not None:
                member.taken.add(job.piece, -1)
                job.piece = None
        if job.node_seconds:
            state.reserved_node_seconds -= job.node_seconds
            state.reserved_cost -= job.cost
            job.node_seconds = job.cost = 0.0
        if (
            self._budgeted
            or (group.max_running and (group.waiting or group.ready))
            or (state.backlog and member.outstanding <= REFILL)
        ):
            self.impact.release = True
        return used

    def finished(self, job: Job, outcome: str, reason: str) -> None:
        """The job is over for good."""
        point = job.point
        group = job.group
        ran = job.run_at > 0.0
        if job.waits:
            self.stop_waiting(job)
        used = self._let_go(job) if job.member and job.code != NEW else 0.0
        event = job.last
        measured = outcome == "success" and ran and event is not None and job.number not in point.warm
        fields = self._measure(job, used) if measured else _OVER[ran, outcome]
        impact = self.impact
        for cell in point.cells:
            if ran:
                cell.running -= 1
            else:
                cell.pending -= 1
            count(cell, outcome, 1)
            if cell.watch is not None:
                impact.touch(cell, fields)
        if outcome in ("failed", "lost"):
            codes, text = ((event.exit_code, event.signal), event.text) if event is not None else ((-1, 0), "")
            group.count_failures((reason or outcome, *codes), job.key, job.attempt, text)
        if job.code != INACTIVE:
            move(job, "finish")
        job.outcome, job.reason = outcome, reason
        impact.last = job
        if impact.on_end is not None:
            impact.on_end(job)
        group.mark_done(job.number)
        del self._jobs[job.key]
        if group.on:
            impact.wake(group, point, "job-finish", job)
            impact.wake(group, point, WAKES[outcome], job)

    def _measure(self, job: Job, used: float) -> tuple[str, ...]:
        """Add what a successful job measured to its group and points; return the names of all that it changed."""
        event = job.last
        assert event is not None
        seconds = max(0.0, (job.ended or event.time) - job.run_time)
        hours = used / 3600.0
        price = self._members[job.member].price
        figures = event.figures
        for cell in job.point.measured:
            series = cell.series
            if "node_hours" in series:
                series["duration"].add(seconds)
                series["node_hours"].add(hours)
            else:
                cell.quantity("duration").add(seconds)
                cell.quantity("node_hours").add(hours)
            if price:
                cell.quantity("cost").add(hours * price)
            if figures:
                for name, value in figures.items():
                    cell.quantity(name).add(value)
        return (*_MEASURED, *("~" + name for name in figures)) if figures else _MEASURED

    # ---- effects -----------------------------------------------------------------------------------

    def cancel(self, effect: Cancel) -> None:
        """Note what is being cancelled; what no member has is cancelled at once."""
        state = self.state
        # not awaited: each job's own end answers it
        state.next_command = max(state.next_command, effect.id + 1)
        strangers = [key for key, _ in effect.refs if key not in self._jobs]
        if strangers:
            self.backlog.withdraw(strangers)
        for key, attempt in effect.refs:
            job = self._jobs.get(key)
            if job is not None and job.attempt == attempt:
                job.cancelling = PARKED if effect.reason == PAUSE else CANCELLED
                if job.code == NEW:
                    self._unready(job)
                    self.finished(job, "cancelled", effect.reason)

    def _unready(self, job: Job) -> None:
        if job.key in job.group.ready:
            job.group.ready.remove(job.key)

    def retry(self, effect: Retry) -> None:
        """The attempt that ended gets a successor (or, never having run, goes again under its own number)."""
        state = self.state
        job = self._jobs[effect.key]
        event = job.last
        fresh = effect.attempt != job.attempt
        self._let_go(job)
        if job.run_at:
            for cell in job.point.cells:
                cell.running -= 1
                cell.pending += 1
                self.impact.touch(cell, _AGAIN)
        if fresh:
            if effect.spent:
                job.retries += 1
                self._count_attempt(job)
            elif event is not None and event.reason != "later" and job.cancelling != PARKED:
                job.losses += 1
            self.impact.wake(job.group, job.point, "job-retry", job)
        if effect.elsewhere:
            job.avoid = tuple(dict.fromkeys((*job.avoid, effect.elsewhere)))
        move(job, "retry")
        job.attempt = effect.attempt
        job.incarnation = 0
        job.run_at = job.run_time = job.ended = 0.0
        job.last = None
        job.cancelling = 0
        if effect.after > state.now:
            heappush(state.timers, (effect.after, job.number, "retry", job.key))
        else:
            job.group.ready.append(job.key)
            self.impact.release = True

    def _count_attempt(self, job: Job) -> None:
        for cell in job.point.cells:
            cell.failed_attempts += 1
            self.impact.touch(cell, _FAILED)

    def finish(self, effect: Finish) -> None:
        """The last attempt is over, or there will be none."""
        job = self._jobs[effect.key]
        if job.code == NEW:
            self._unready(job)
        elif effect.outcome in ("failed", "lost"):
            self._count_attempt(job)
        self.finished(job, effect.outcome, effect.reason)

    def unsend(self, key: str, attempt: int) -> None:
        """The member never had it: it goes again under the same attempt, unless it is not wanted any more."""
        job = self._jobs.get(key)
        if job is None or job.attempt != attempt or not NEW < job.code < INACTIVE:
            return
        if job.run_at:
            # it has been seen running: what is gone after that is lost, not unsent
            self.lose(job, JobEvent(job.member, key, "inactive", outcome="lost", reason="infrastructure"))
            return
        if job.waits:
            self.stop_waiting(job)
        self._let_go(job)
        move(job, "unsend")
        if job.cancelling == CANCELLED or self.state.dropped:
            self.impact.over.append(job)
        else:
            job.cancelling = 0
            job.group.ready.append(key)
            self.impact.release = True

    def lose(self, job: Job, event: JobEvent) -> None:
        """The attempt ended without a word of its own: by refusal, or with the infrastructure under it."""
        if job.waits:
            self.stop_waiting(job)
        job.last = event
        move(job, "lose")
        self.impact.over.append(job)

    def drop_waiting(self, reason: str) -> None:
        """Jobs between two attempts get no other."""
        for job in [job for job in self._jobs.values() if job.code == NEW]:
            self._unready(job)
            self.finished(job, "cancelled", reason)
