"""What one event set off: values that changed, rules it woke, attempts to be decided on.

`apply` fills it and `decide` empties it; a replay, which decides nothing, throws it away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ensemble.engine.rules import Rule, Watch
from ensemble.engine.state import Cell, Group, Job, Member, Point
from ensemble.model.decisions import Note
from ensemble.model.events import Event

WAKES: Final = {"success": "job-success", "cancelled": "job-cancel", "failed": "job-fail", "lost": "job-fail"}
"""The trigger of each end of a job."""

WAITS: Final = ("~pending",)
"""What changes in a cell when a job enters or leaves its queue."""


class Impact:
    """Lists that live from the moment an event is taken in until it is decided what follows."""

    __slots__ = (
        "asked",
        "awake",
        "causes",
        "changed",
        "due",
        "event",
        "jobs",
        "last",
        "on_end",
        "over",
        "release",
        "remarks",
    )

    def __init__(self) -> None:
        self.changed: list[Watch] = []
        """Values that somebody watches and that changed."""
        self.awake: list[Rule] = []
        """Rules whose trigger came."""
        self.event: Event | None = None
        """The event itself."""
        self.causes: dict[str, list[str]] = {}
        """By function rule, the jobs that woke it: it is called for each."""
        self.jobs: dict[str, Job] = {}
        """Those jobs, some of which are over and nowhere else any more."""
        self.last: Job | None = None
        """The job that ended last."""
        self.on_end: Callable[[Job], None] | None = None
        """Called with each job that is over for good."""
        self.due: list[Rule] = []
        """Rules to be looked at because their time came."""
        self.over: list[Job] = []
        """Attempts that ended and need a decision, and jobs that came back and may not go again."""
        self.remarks: list[Note] = []
        """What was odd about the event."""
        self.release = False
        """Whether something happened that may let waiting jobs go to a member."""
        self.asked: str | None = None
        """The rule whose function has just answered (empty: nobody's); None when that answer was not awaited."""

    def clear(self) -> None:
        """Throw everything away."""
        self.changed.clear()
        self.awake.clear()
        self.due.clear()
        self.over.clear()
        self.remarks.clear()
        self.release = False
        self.asked = None
        if self.causes:
            self.causes.clear()
            self.jobs.clear()

    def job(self, key: str) -> Job | None:
        """A job that the present event woke a function rule for, or ended."""
        last = self.last
        if last is not None and last.key == key and last.last is self.event:
            return last
        return self.jobs.get(key)

    def touch(self, cell: Cell | Member, fields: tuple[str, ...]) -> None:
        """Note that values of a cell or member changed."""
        watch = cell.watch
        if watch is not None:
            for field in fields:
                found = watch.get(field)
                if found is not None:
                    self.changed.append(found)

    def wake(self, group: Group, point: Point | None, trigger: str, job: Job | None = None) -> None:
        """Wake the rules that wait for a trigger of a group; under `for_each`, those of the point's own value."""
        listeners = group.on.get(trigger)
        for rule in listeners.of(point.values if point is not None else None) if listeners is not None else ():
            self.awake.append(rule)
            if rule.calls and job is not None:
                self.causes.setdefault(rule.id, []).append(job.key)
                self.jobs[job.key] = job
