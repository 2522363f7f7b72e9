"""A run's records as lines for a person. What repeats is counted instead of repeated."""

from __future__ import annotations

__all__ = ["Message", "Messages"]

from dataclasses import dataclass
from typing import Final, NamedTuple

from ensemble.model.decisions import Finish, Firing, Held, Note, Record, Upkeep
from ensemble.model.events import Event, Fault, JobEvent, MemberEvent, Requested, RunResumed, RunStarted, SubmitAnswered
from ensemble.model.jobs import split_key
from ensemble.model.wording import counted
from ensemble.report.describe import consequences, values
from ensemble.report.text import failure, seconds

FIRST: Final = 3
"""Failures of one kind that have a line each; the others are counted."""

FIRINGS: Final = 10
"""Firings of one rule that have a line each."""

SUMMARY_SECONDS: Final = 10.0
"""Time of the run between two lines about what was only counted."""

_ASKED: Final = {
    ("pause", "SIGINT"): "Ctrl-C: no more jobs start, and those that run may finish. Ctrl-C again cancels them.",
    ("cancel", "SIGINT"): "Ctrl-C: all jobs are being cancelled. Ctrl-C again leaves at once; "
    "`ensemble resume` goes on with the run.",
    ("cancel", "SIGTERM"): "SIGTERM: all jobs are being cancelled.",
}


class Message(NamedTuple):
    """A line and what it is about: run, rule, failure, member, note, request or job."""

    kind: str
    text: str


@dataclass(slots=True)
class _Repeated:
    """What has been seen of one kind of failure or of one rule's firings."""

    seen: int = 0
    unsaid: int = 0
    example: str = ""


class Messages:
    """Takes in the records of one run in their order, from its first on or from a later one."""

    def __init__(self, debug: bool = False) -> None:
        """`debug`: also a line for every change of a job's state."""
        self._debug = debug
        self.run = "last"
        """The name of the run, for commands that look closer."""
        self._failures: dict[tuple[str, str], _Repeated] = {}
        self._firings: dict[str, _Repeated] = {}
        self._down: dict[str, float] = {}
        self._summary_at = 0.0

    def add(self, record: Record) -> list[Message]:
        """Return the lines that a record gives rise to."""
        lines = self._event(record)
        for step in record.steps:
            if isinstance(step, Held):
                continue
            if isinstance(step, Firing):
                lines += self._fired(step)
            else:
                lines += self._upkeep(step, record.event)
        if record.at >= self._summary_at:
            lines += self.rest()
            self._summary_at = record.at + SUMMARY_SECONDS
        return lines

    def rest(self) -> list[Message]:
        """Lines about what was counted and not yet shown."""
        lines = []
        for (group, reason), found in self._failures.items():
            if found.unsaid:
                more = counted(found.unsaid, "more job")
                lines.append(
                    Message(
                        "failure", f"{more} of {group} failed like {found.example} ({reason}): {found.seen:,} so far"
                    )
                )
                found.unsaid = 0
        for rule, found in self._firings.items():
            if found.unsaid:
                more = counted(found.unsaid, "more time")
                lines.append(Message("rule", f"{rule} fired {more}: {found.seen:,} so far"))
                found.unsaid = 0
        return lines

    # ---- events ------------------------------------------------------------------------------------

    def _event(self, record: Record) -> list[Message]:
        match record.event:
            case RunStarted(run=run, run_dir=run_dir):
                self.run = run
                return [Message("run", f"run {run} in {run_dir}")]
            case RunResumed():
                return [Message("run", f"run {self.run} goes on")]
            case JobEvent() as event:
                return self._job(event)
            case MemberEvent() as event:
                return self._member(event, record.at)
            case SubmitAnswered(refused=refused):
                lines = []
                for key, attempt, why, transient in refused:
                    if not transient:
                        lines += self._failed(key, attempt, "refused", why)
                return lines
            case Requested(what=what, by=by):
                text = _ASKED.get((what, by))
                if text is None:
                    text = f"{by or 'somebody'} asked for: {what}"
                return [Message("request", text)]
            case Fault(name=name, text=text):
                return [Message("note", f"{name}: {text}")]
        return []

    def _job(self, event: JobEvent) -> list[Message]:
        if event.outcome not in ("", "success", "cancelled"):
            reason = failure(event.reason or event.outcome, event.exit_code, event.signal)
            return self._failed(event.key, event.attempt, reason, event.text)
        if self._debug:
            return [Message("job", f"{event.key} {event.state} {event.outcome}".rstrip())]
        return []

    def _failed(self, key: str, attempt: int, reason: str, text: str) -> list[Message]:
        try:
            group = split_key(key)[0]
        except ValueError:
            group = key
        found = self._failures.setdefault((group, reason), _Repeated())
        found.seen += 1
        if found.seen > FIRST:
            found.unsaid += 1
            return []
        found.example = found.example or key
        again = f", attempt {attempt}" if attempt > 1 else ""
        detail = f": {text}" if text else ""
        look = f" (`ensemble logs {self.run} {key}`)" if found.seen == 1 and reason != "refused" else ""
        return [Message("failure", f"{key}{again} failed, {reason}{detail}{look}")]

    def _member(self, event: MemberEvent, at: float) -> list[Message]:
        name = f"member {event.member}"
        since = self._down.pop(event.member, None) if event.name in ("open", "up") else None
        again = f" again after {seconds(at - since)}" if since is not None else ""
        detail = f": {event.text}" if event.text else ""
        match event.name:
            case "open":
                nodes = counted(event.nodes_up, "node") if event.nodes_up >= 0 else "its nodes are not known yet"
                cores = f", {counted(event.cores_up, 'core')}" if event.cores_up >= 0 else ""
                return [Message("member", f"{name} is up{again}: {nodes}{cores}")]
            case "up" if since is not None:  # else the `open` before it has said so
                return [Message("member", f"{name} is up{again}")]
            case "down":
                self._down.setdefault(event.member, at)
                return [Message("member", f"{name} is down{detail}. Its jobs go on where they can.")]
            case "provisioning" if event.text:
                return [Message("member", f"{name} waits for nodes{detail}")]
            case "gone":
                return [Message("member", f"{name} is given up{detail}")]
            case "fault":
                return [Message("member", f"{name}{detail}")]
            case "closed":
                return [Message("member", f"{name} is closed{detail}")]
        return []

    # ---- decisions ---------------------------------------------------------------------------------

    def _upkeep(self, step: Upkeep, event: Event) -> list[Message]:
        lines = []
        for effect in step.effects:
            if isinstance(effect, Note):
                lines.append(Message("note", f"{effect.name}: {effect.text}"))
            elif isinstance(effect, Finish) and effect.outcome == "failed" and _succeeded(event):
                # it ended well, and what it wrote says otherwise
                lines += self._failed(effect.key, 1, effect.reason, "")
        return lines

    def _fired(self, step: Firing) -> list[Message]:
        found = self._firings.setdefault(step.rule, _Repeated())
        found.seen += 1
        if found.seen > FIRINGS:
            found.unsaid += 1
            return []
        why = values(step.why)
        what = consequences(step.effects)
        return [Message("rule", f"{step.rule} fired{f' ({why})' if why else ''}{f': {what}' if what else ''}")]


def _succeeded(event: Event) -> bool:
    return isinstance(event, JobEvent) and event.outcome == "success"
