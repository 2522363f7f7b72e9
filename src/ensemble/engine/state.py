"""Everything the engine knows, in one place: plain mutable objects that only `apply` changes.

Jobs that no member has seen yet are ranges of numbers, jobs under way are one `Job` each, and finished
jobs are one bit: memory follows what is open, not what has been.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ensemble.engine.transitions import NEW
from ensemble.metrics import PendingSeries, Series
from ensemble.model.decisions import End, MemberSize, Span
from ensemble.model.events import JobEvent
from ensemble.model.jobs import Resources, Scalar
from ensemble.model.placement import Piece, Taken
from ensemble.spec.model import LimitsSpec

if TYPE_CHECKING:
    from ensemble.engine.calls import Line
    from ensemble.engine.rules import Each, Listeners, Rule, Watch

CANCELLED: Final = 1
PARKED: Final = 2
"""`Job.cancelling`: it is being ended for good, or was taken back from its queue by a pause and goes again later."""

PAUSE: Final = "pause"
"""The reason of a cancel that takes jobs back from their queues."""

Binding = tuple[tuple[str, Scalar], ...]
"""Axis values in the order of the axes; () is the whole group."""


class Cell:
    """Counts and streaming statistics of a set of points: one point, a slice of them, a group, or everything."""

    __slots__ = (
        "binding",
        "cancelled",
        "failed",
        "failed_attempts",
        "group",
        "lost",
        "pending",
        "running",
        "series",
        "submitted",
        "success",
        "waits",
        "watch",
    )

    def __init__(self, group: str, binding: Binding) -> None:
        self.group = group
        self.binding = binding
        self.submitted = 0
        self.pending = 0
        self.running = 0
        self.success = 0
        self.failed = 0
        self.cancelled = 0
        self.lost = 0
        self.failed_attempts = 0
        self.series: dict[str, Series] = {}
        self.waits = PendingSeries()
        self.watch: dict[str, Watch] | None = None

    @property
    def active(self) -> int:
        """Jobs that have not finished."""
        return self.pending + self.running

    @property
    def finished(self) -> int:
        """Jobs that have."""
        return self.success + self.failed + self.cancelled + self.lost

    def quantity(self, name: str) -> Series:
        """The series of one quantity, made when first asked for."""
        series = self.series.get(name)
        if series is None:
            series = self.series[name] = Series()
        return series


def count(cell: Cell, outcome: str, jobs: int) -> None:
    """Add to the count of an outcome."""
    if outcome == "success":
        cell.success += jobs
    elif outcome == "failed":
        cell.failed += jobs
    elif outcome == "cancelled":
        cell.cancelled += jobs
    else:
        cell.lost += jobs


MOST_FAILURES: Final = 50
"""Kinds of failure that are kept apart in one group; what comes after them is counted as `other`."""


class Failures:
    """Jobs of one group that failed or were lost for the same reason, and the first of them."""

    __slots__ = ("attempt", "count", "example", "text")

    def __init__(self, example: str, attempt: int, text: str = "", count: int = 0) -> None:
        self.example = example
        self.attempt = attempt
        self.text = text
        """What was said of the first one, at most 200 characters."""
        self.count = count


FailureKind = tuple[str, int, int]
"""(reason, exit code, signal); -1 and 0 where there is none."""


class Shape(NamedTuple):
    """What one job of a point asks for. `member` empty: any."""

    member: str
    need: Resources


class Point:
    """One combination of parameters of a group, with what its jobs need (worked out once)."""

    __slots__ = (
        "cells",
        "conditional",
        "cores",
        "group",
        "index",
        "measured",
        "member",
        "nodes",
        "shape",
        "template",
        "values",
        "walltime",
        "warm",
    )

    def __init__(self, group: Group, index: int, template: int, values: dict[str, Scalar]) -> None:
        self.group = group
        self.index = index
        self.template = template
        self.values = values
        self.cells: tuple[Cell, ...] = ()
        """Every cell its jobs count into; the last is that of everything."""
        self.measured: tuple[Cell, ...] = ()
        """Those of them that keep series: all but the last."""
        self.member = ""
        self.nodes = 0
        self.cores = 1
        self.shape = Shape("", Resources())
        self.walltime = 0.0
        self.conditional = False
        """Whether a job that ended well may still be found to have failed (`valid`, required outputs)."""
        self.warm: set[int] = set()
        """Numbers of the jobs that count into no quantity (`warmup`)."""

    @property
    def own_cell(self) -> Cell:
        """The cell of just this point."""
        return self.group.cells[tuple(self.values.items())]


class Group:
    """All entries of the file that share a name."""

    __slots__ = (
        "active",
        "axes",
        "backlog",
        "by_value",
        "by_values",
        "cells",
        "created",
        "done",
        "failures",
        "max_running",
        "mixing",
        "name",
        "on",
        "outstanding",
        "parents",
        "points",
        "ready",
        "shapes",
        "slices",
        "waiting",
        "whole",
        "within",
    )

    def __init__(self, name: str, axes: tuple[str, ...]) -> None:
        self.name = name
        self.axes = axes
        self.points: list[Point] = []
        self.whole = Cell(name, ())
        self.cells: dict[Binding, Cell] = {(): self.whole}
        self.slices: dict[tuple[str, ...], None] = {(): None}
        """The sets of axes by which there are cells: a point counts into at most one cell of each."""
        self.by_values: dict[Binding, list[Point]] = {}
        """Points by their values, the axes in the order of the group's. Two entries may have equal points."""
        self.by_value: dict[tuple[str, Scalar], list[Point]] = {}
        """Points by the value of one axis."""
        self.within: dict[tuple[str, ...], dict[tuple[Scalar, ...], list[Point]]] = {}
        """Points by the values of several axes: an index for each set of axes that a rule has asked for."""
        self.shapes: dict[Shape, list[int]] = {}
        """The distinct demands of its points, and which points have them."""
        self.created = 0
        self.backlog: deque[Span] = deque()
        """Jobs no member has seen, in the order in which they will be submitted."""
        self.mixing: list[Span] = []
        """Created by the present step and still to be put in order."""
        self.waiting = 0
        """How many jobs the backlog holds."""
        self.ready: deque[str] = deque()
        """Keys of jobs whose next attempt may be submitted now; they go before the backlog."""
        self.outstanding = 0
        """Jobs with a member at present."""
        self.max_running = 0
        self.parents: dict[int, str] = {}
        """The directory of the job that caused it, by the number of a job that is not over; only where it is used."""
        self.done = bytearray()
        """One bit per job number: finished."""
        self.failures: dict[FailureKind, Failures] = {}
        """Jobs that failed for good, by the reason of their last attempt."""
        self.on: dict[str, Listeners] = {}
        """Rules by the trigger that wakes them for this group."""

    def count_failures(self, kind: FailureKind, example: str, attempt: int, text: str = "", jobs: int = 1) -> None:
        """Count jobs that failed for the same reason; `example` is the key of the first, `text` what was said of it."""
        found = self.failures.get(kind)
        if found is None:
            if len(self.failures) >= MOST_FAILURES:
                kind = ("other", -1, 0)
            found = self.failures.setdefault(kind, Failures(example, attempt, text[:200]))
        found.count += jobs

    def is_done(self, number: int) -> bool:
        """Whether the job of that number has finished."""
        byte = number >> 3
        return byte < len(self.done) and bool(self.done[byte] & (1 << (number & 7)))

    def mark_done(self, number: int) -> None:
        """Remember a finished job by one bit."""
        if self.parents:
            self.parents.pop(number, None)
        byte = number >> 3
        if byte >= len(self.done):
            self.done.extend(bytes(max(64, byte + 1 - len(self.done))))
        self.done[byte] |= 1 << (number & 7)


class Job:
    """A job from its first submission to its end."""

    __slots__ = (
        "attempt",
        "avoid",
        "cancelling",
        "code",
        "cost",
        "ended",
        "group",
        "hosts",
        "incarnation",
        "key",
        "last",
        "losses",
        "member",
        "node_seconds",
        "nodes",
        "number",
        "outcome",
        "piece",
        "point",
        "reason",
        "retries",
        "run_at",
        "run_time",
        "submitted_at",
        "takes",
        "until",
        "waits",
    )

    def __init__(self, key: str, group: Group, point: Point, number: int) -> None:
        self.key = key
        self.group = group
        self.point = point
        self.number = number
        self.code = NEW
        self.attempt = 1
        self.incarnation = 0
        self.member = ""
        self.submitted_at = 0.0
        self.waits = False
        """Whether it counts in the pending series."""
        self.run_at = 0.0
        self.run_time = 0.0
        self.ended = 0.0
        self.last: JobEvent | None = None
        """The event that ended the attempt, until it is decided what follows."""
        self.node_seconds = 0.0
        """What is reserved for it in node-seconds."""
        self.cost = 0.0
        self.nodes = 0.0
        """The nodes that it is charged for."""
        self.takes = 0.0
        """How long it is expected to take at most, in seconds."""
        self.until = 0.0
        """When it ends at the latest, by what is expected of it and of those before it."""
        self.piece: Piece | None = None
        self.retries = 0
        self.losses = 0
        self.cancelling = 0
        self.outcome = ""
        self.reason = ""
        self.hosts = ""
        self.avoid: tuple[str, ...] = ()


class Member:
    """What the engine knows of a queue back end."""

    __slots__ = (
        "capabilities",
        "changed_at",
        "cores_free",
        "cores_per_node",
        "cores_up",
        "gpus_up",
        "holds",
        "kind",
        "max_nodes",
        "min_nodes",
        "name",
        "nodes",
        "nodes_free",
        "nodes_up",
        "opened",
        "outstanding",
        "outstanding_cores",
        "position",
        "price",
        "queue",
        "running_nodes",
        "running_since",
        "state",
        "stream",
        "taken",
        "target",
        "text",
        "waiting",
        "watch",
    )

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.state = "new"
        """new, up, down, closed or gone."""
        self.opened = False
        self.stream = ""
        self.position = 0
        self.capabilities: tuple[str, ...] = ()
        self.nodes_up = -1
        self.nodes_free = -1
        self.cores_up = -1
        self.cores_free = -1
        self.gpus_up = -1
        self.cores_per_node = 0
        self.target = 0
        self.nodes = 0
        """Nodes at the start, by the file: its size until it reports one."""
        self.min_nodes = 0
        self.max_nodes = 0
        self.price = 0.0
        self.holds = False
        """Nodes are paid for while they are held, whether or not a job runs on them."""
        self.changed_at = 0.0
        self.queue: dict[str, int] = {}
        self.outstanding = 0
        self.outstanding_cores = 0
        self.running_nodes = 0.0
        """Nodes of the jobs that run there; these three are kept only where a limit asks for them."""
        self.running_since = 0.0
        """The same nodes, each times when its job started, in seconds from the start of the run."""
        self.taken = Taken()
        """What the jobs take that are with it."""
        self.text = ""
        self.waiting: dict[str, int] = {}
        """Why jobs wait in its queue, in the queue's own words, and how many wait for each reason."""
        self.watch: dict[str, Watch] | None = None

    @property
    def sizes(self) -> MemberSize:
        """Its nodes at the start and their bounds, by the file as it was changed last."""
        return MemberSize(self.name, self.nodes, self.min_nodes, self.max_nodes)

    @sizes.setter
    def sizes(self, size: MemberSize) -> None:
        self.nodes, self.min_nodes, self.max_nodes = size.nodes, size.min_nodes, size.max_nodes


class State:
    """The whole of it."""

    __slots__ = (
        "added",
        "algorithm",
        "algorithm_options",
        "avoid",
        "backlog",
        "calls",
        "cancelled_outside",
        "commands",
        "draining",
        "each",
        "dropped",
        "paused",
        "ended",
        "ends",
        "firings",
        "function_error",
        "groups",
        "held",
        "jobs",
        "keys",
        "limit",
        "limits",
        "lines",
        "members",
        "memory",
        "next_command",
        "notes",
        "now",
        "run",
        "run_dir",
        "rule_ids",
        "rule_order",
        "refused",
        "rules",
        "switches",
        "seed",
        "seq",
        "spent_cost",
        "spent_node_seconds",
        "started",
        "terminating",
        "timers",
        "total",
        "reserved_cost",
        "reserved_node_seconds",
    )

    def __init__(self) -> None:
        self.run = ""
        self.run_dir = ""
        self.seed = 0
        self.seq = 0
        self.now = 0.0
        self.started = -1.0
        self.groups: dict[str, Group] = {}
        self.members: dict[str, Member] = {}
        self.jobs: dict[str, Job] = {}
        self.total = Cell("*", ())
        self.backlog = 0
        """Jobs in all backlogs."""
        self.rules: dict[str, Rule] = {}
        self.rule_ids: dict[str, None] = {}
        """Every id a rule came with, that of a `for_each` rule too."""
        self.rule_order = 0
        """The order of the rule that came last."""
        self.each: list[Each] = []
        """The `for_each` rules."""
        self.added: list[tuple[str, dict[str, Any], str]] = []
        """Rules that joined while the run was going: id, rule, owner."""
        self.firings = 0
        self.next_command = 1
        self.commands: dict[int, Any] = {}
        """Commands that have not been answered yet, by id."""
        self.calls: dict[int, str] = {}
        """Which rule waits for which command."""
        self.held = False
        """Whether the run does not end by itself, for a script goes on submitting."""
        self.keys: dict[str, tuple[Span, ...]] = {}
        """The jobs that each keyed request made."""
        self.lines: dict[str, Line] = {}
        """By rule, the calls of functions that wait or are under way."""
        self.function_error = ""
        """The error of the first function that failed."""
        self.timers: list[tuple[float, int, str, str]] = []
        """(when, order, kind, name): a heap."""
        self.draining = ""
        """Why nothing more is created; empty while it is."""
        self.dropped = False
        """Whether what was waiting is given up too (a limit on jobs lets those within it run)."""
        self.paused = False
        """Nothing is handed to members; what waits is kept."""
        self.terminating = False
        self.limit = ""
        self.limits = LimitsSpec()
        """The ceilings: those of the file, or of the file as it was changed last."""
        self.ended: End | None = None
        self.ends: list[tuple[float, str, int]] = []
        """When the jobs under way are expected to have ended: (-time, key, attempt), a heap with old entries."""
        self.avoid: tuple[str, ...] = ()
        self.algorithm = ""
        self.algorithm_options: dict[str, Any] = {}
        self.switches = 0
        """How often an algorithm has taken over."""
        self.memory: dict[str, dict[str, Any]] = {}
        self.spent_node_seconds = 0.0
        self.spent_cost = 0.0
        self.reserved_node_seconds = 0.0
        self.reserved_cost = 0.0
        self.notes: dict[str, int] = {}
        """How often each named remark was made."""
        self.refused: dict[str, None] = {}
        """Rules that matched while the run was ending, and whose action starts something."""
        self.cancelled_outside: dict[str, int] = {}
        """Attempts that were cancelled though nothing here had asked for it, by the reason that their queue gives."""
