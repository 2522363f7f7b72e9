"""Queue back ends as they come, change size and go: member events, resizes, and the bill of held nodes."""

from __future__ import annotations

from typing import Final

from ensemble.engine.attempts import Attempts
from ensemble.engine.commands import Commands
from ensemble.engine.impact import Impact
from ensemble.engine.placement import resizing
from ensemble.engine.state import Member, State
from ensemble.engine.transitions import INACTIVE, NEW
from ensemble.model.decisions import Note, Resize, StopMember
from ensemble.model.events import JobEvent, MemberEvent, ResizeDone

_SIZES: Final = ("nodes_up", "nodes_free", "cores_up", "cores_free", "gpus_up")
_OVER: Final = ("closed", "gone")


class Membership:
    """Carries out what concerns a member."""

    __slots__ = ("attempts", "commands", "impact", "state")

    def __init__(self, state: State, impact: Impact, attempts: Attempts, commands: Commands) -> None:
        self.state = state
        self.impact = impact
        self.attempts = attempts
        self.commands = commands

    def event(self, event: MemberEvent) -> None:
        """A member came, changed or went."""
        member = self.state.members[event.member]
        if event.name == "open":
            self._open(member, event)
        elif event.n:
            if event.n <= member.position:
                return
            member.position = event.n
        self._change_state(member, event.name)
        member.text = event.text
        self.charge_held(member)
        self._resize_to(member, event)
        if member.state == "closed":
            # nothing of the run is left there; one that was given up may still hold nodes, so it is paid for to the end
            member.holds = False
        if event.queue is not None:
            self._queue(member, event.queue)
        if event.waiting is not None:
            member.waiting = event.waiting
        for key, attempt in event.unsent:
            self.attempts.unsend(key, attempt)
        self.impact.release = True
        trigger = "member-" + event.name
        for rule in self.state.rules.values():
            if rule.trigger == trigger and rule.spec.name in ("", event.member):
                self.impact.awake.append(rule)
        self._lose(member, event)

    def _open(self, member: Member, event: MemberEvent) -> None:
        if event.stream != member.stream:
            member.stream = event.stream
            member.position = 0
            member.waiting = {}
        member.opened = True
        member.capabilities = event.capabilities

    def _change_state(self, member: Member, name: str) -> None:
        if member.state in _OVER:
            # who was closed or given up stays so: a late `open` of a resumed run brings nothing back to life
            if name == "gone":
                member.state = name
            return
        if name == "open":
            member.state = "up"
        elif name in ("up", "down", *_OVER):
            member.state = name
        if name == "up":
            member.opened = True

    def _resize_to(self, member: Member, event: MemberEvent) -> None:
        if event.name == "open":
            member.holds = "resize" in event.capabilities and member.price > 0
        for field in _SIZES:
            value = getattr(event, field)
            if value >= 0 and value != getattr(member, field):
                setattr(member, field, value)
                self.impact.touch(member, (field,))
        if event.cores_per_node:
            member.cores_per_node = event.cores_per_node
        if event.name == "open" and not member.target and not resizing(self.state, member.name):
            member.target = max(member.nodes_up, 0)

    def _queue(self, member: Member, queue: dict[str, int]) -> None:
        for name, jobs in queue.items():
            if member.queue.get(name) != jobs:
                member.queue[name] = jobs
                self.impact.touch(member, ("queue_" + name,))

    def _lose(self, member: Member, event: MemberEvent) -> None:
        """What the member proves gone is over, and so is what was asked of a member that is gone itself."""
        lost = event.gone
        if event.name == "gone":
            lost = tuple((job.key, job.attempt) for job in self.state.jobs.values() if job.member == member.name)
        for key, attempt in lost:
            job = self.state.jobs.get(key)
            if job is not None and job.attempt == attempt and NEW < job.code < INACTIVE:
                over = JobEvent(member.name, key, "inactive", event.time, outcome="lost", reason="infrastructure")
                self.attempts.lose(job, over)
        if event.name in _OVER:
            self.commands.close_all_of(member.name)

    def charge_held(self, member: Member) -> None:
        """Bring the bill of held nodes up to now."""
        state = self.state
        if member.holds and member.nodes_up > 0:
            seconds = (state.now - member.changed_at) * member.nodes_up
            state.spent_cost += seconds / 3600.0 * member.price
        member.changed_at = state.now

    def resized(self, event: ResizeDone) -> None:
        """A resize ended, well or not. An answer that is not awaited changes nothing."""
        if self.commands.close(event.command):
            member = self.state.members[event.member]
            if event.error:
                if not resizing(self.state, member.name):
                    member.target = max(member.nodes_up, 0)
            elif event.nodes >= 0:
                self.charge_held(member)
                member.target = event.nodes
        if event.error:
            self.impact.remarks.append(Note("resize-failed", f"{event.member}: {event.error}"))
        self.impact.release = True

    # ---- effects -----------------------------------------------------------------------------------

    def resize(self, effect: Resize) -> None:
        """A member is asked to change its size."""
        self.commands.open(effect)
        self.state.members[effect.member].target = effect.nodes

    def stop(self, effect: StopMember) -> None:
        """A member gets no more jobs. The answer is its own event `closed`."""
        self.state.next_command = effect.id + 1
        self.state.members[effect.member].state = "closed"
        self.impact.release = True
