"""What one event set off: values that changed, rules it woke, attempts to be decided on.

`apply` fills it and `decide` empties it; a replay, which decides nothing, throws it away.
"""

from __future__ import annotations

from typing import Final

from ensemble.engine.rules import Rule, Watch
from ensemble.engine.state import Cell, Group, Job, Member, Point
from ensemble.model.decisions import Note

_NONE: Final[list[Rule]] = []

WAKES: Final = {"success": "job-success", "cancelled": "job-cancel", "failed": "job-fail", "lost": "job-fail"}
"""The trigger of each end of a job."""


class Impact:
    """Lists that live from the moment an event is taken in until it is decided what follows."""

    __slots__ = ("asked", "awake", "changed", "due", "over", "release", "remarks")

    def __init__(self) -> None:
        self.changed: list[Watch] = []
        """Values that somebody watches and that changed."""
        self.awake: list[Rule] = []
        """Rules whose trigger came."""
        self.due: list[Rule] = []
        """Rules to be looked at because their time came."""
        self.over: list[Job] = []
        """Attempts that ended and need a decision, and jobs that came back and may not go again."""
        self.remarks: list[Note] = []
        """What was odd about the event."""
        self.release = False
        """Whether something happened that may let waiting jobs go to a member."""
        self.asked = ""
        """The rule whose function has just answered; empty when that answer was not awaited."""

    def clear(self) -> None:
        """Throw everything away."""
        self.changed.clear()
        self.awake.clear()
        self.due.clear()
        self.over.clear()
        self.remarks.clear()
        self.release = False
        self.asked = ""

    def touch(self, cell: Cell | Member, fields: tuple[str, ...]) -> None:
        """Note that values of a cell or member changed."""
        watch = cell.watch
        if watch is not None:
            for field in fields:
                found = watch.get(field)
                if found is not None:
                    self.changed.append(found)

    def wake(self, group: Group, point: Point | None, trigger: str) -> None:
        """Wake the rules that wait for a trigger of a group; under `for_each`, those of the point's own value."""
        for rule in group.on.get(trigger, _NONE):
            if not rule.binding or (
                point is not None and all(point.values.get(axis) == value for axis, value in rule.binding.items())
            ):
                self.awake.append(rule)
