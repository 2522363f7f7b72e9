"""What differs between batch queues: their commands, their words for states and reasons, their variables on a node."""

from __future__ import annotations

__all__ = [
    "ENDING",
    "LOST",
    "OVER",
    "RUNNING",
    "WAITING",
    "Accounted",
    "Dialect",
    "Limits",
    "Row",
    "Sizes",
    "SubmissionRefused",
    "Verdict",
]

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from ensemble.members.batch.commands import Commands
from ensemble.model.jobs import JobSpec

WAITING: Final = "waiting"
RUNNING: Final = "running"
ENDING: Final = "ending"
"""Its processes are being ended; whether it comes back is not known yet."""
OVER: Final = "over"


class Verdict(NamedTuple):
    """How a job ended by what its queue says, where the job itself left no record.

    `patience`: how many times longer than usual the record of a job that has begun is waited for; with `began`, also
    where no sign of its beginning is seen, for it must have begun.
    """

    outcome: str
    reason: str
    patience: int = 1
    began: bool = False


LOST: Final = Verdict("lost", "infrastructure")


class Row(NamedTuple):
    """One job as the queue shows it."""

    id: str
    """What `Dialect.task_id` gives, or the id of a whole array whose tasks the queue does not list one by one."""
    array: str
    """The name under which we submitted its array."""
    phase: str
    """WAITING, RUNNING, ENDING or OVER."""
    state: str
    """The state in the queue's own word."""
    reason: str = ""
    """Why it waits, in the queue's own words."""
    hosts: str = ""
    ended: float = 0.0
    """When it ended, in seconds since the epoch; 0 where that is not known."""
    verdict: Verdict = LOST
    """How it ended, where it is OVER."""


class Sizes(NamedTuple):
    """What the queue has for our jobs."""

    nodes_up: int
    nodes_free: int
    cores_up: int
    cores_free: int
    cores_per_node: int
    cores_all: int
    """Those of nodes that are down or drained included: they may come back."""
    nodes_all: int
    """As well."""
    trouble: str = ""
    """Why nodes are not up, in the queue's words."""


class Limits(NamedTuple):
    """What the queue's configuration says."""

    largest_array: int
    """Tasks that one array may have."""
    remembers: float
    """Seconds for which the queue knows of a job that has ended."""


class Accounted(NamedTuple):
    """What the queue's accounting says of a job's end."""

    state: str
    """The state in the queue's own word."""
    verdict: Verdict
    by: str
    """Who cancelled the job; empty where that is not known."""
    ended: float


class SubmissionRefused(Exception):
    """The queue refuses a submission; the text is its own.

    `transient`: it may take it later. `full`: it takes no more jobs now, but may take fewer.
    """

    def __init__(self, reason: str, *, transient: bool = False, full: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient or full
        self.full = full


class Dialect(ABC):
    """One kind of batch queue. Calls raise `MemberError`; a transient one means that the queue does not answer."""

    name: ClassVar[str]
    """As sentences name it."""
    folder: ClassVar[str]
    """Where in a run's directory its members keep their spools."""
    programs: ClassVar[tuple[str, ...]]
    """The commands that must be on PATH; the first one submits jobs."""
    launchers: ClassVar[tuple[str, ...]]
    """What starts the tasks of a job; the first one is used unless the job says otherwise."""
    options: ClassVar[tuple[str, ...]]
    """Options, of a member or of a group, that say how jobs are submitted."""
    queue_option: ClassVar[str]
    """The one of them that names the part of the machine that jobs are for."""
    unreachable: ClassVar[tuple[str, ...]]
    """Words of the commands' errors, in lower case, by which they say that the queue does not answer."""
    on_node: ClassVar[str]
    """Lines of shell that set `index` (the task's number in its array, 0 where there is none), `native` (its id, as
    `task_id`), `restart` (how often the queue has started it again) and `node` in a job's script."""

    def __init__(self, commands: Commands, label: str, options: Mapping[str, Any]) -> None:
        """`label` is what our arrays' names begin with in the queue; `options` are the member's."""
        self.commands = commands
        self.label = label
        self.member_options = options

    @classmethod
    @abstractmethod
    def login_node(cls) -> bool:
        """Whether this machine submits to such a queue, which answers, and we are not inside one of its jobs."""

    @classmethod
    @abstractmethod
    def environment(cls, ours: Mapping[str, str]) -> dict[str, str]:
        """The environment of the queue's commands: without what describes a job that we ourselves are in."""

    # ---- submitting ----------------------------------------------------------------------------------

    @abstractmethod
    def request(self, spec: JobSpec, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What one job asks for, as words of the submitting command; jobs with equal ones share an array.

        Raises `MemberError` for what the queue can never give.
        """

    @abstractmethod
    def launch(self, spec: JobSpec, launcher: str) -> list[str]:
        """The words before a program that start the tasks of a job with one of `launchers`."""

    @abstractmethod
    async def submit(self, array: str, count: int, request: Sequence[str], script: str) -> str:
        """Submit an array of `count` tasks under a name; return its id. Raises `SubmissionRefused`."""

    @abstractmethod
    def task_id(self, array_id: str, number: int, count: int) -> str:
        """The id of one task of an array of `count`."""

    @abstractmethod
    def array_id(self, task_id: str) -> str:
        """The id of the array that a task is of."""

    # ---- asking --------------------------------------------------------------------------------------

    @abstractmethod
    async def rows(self) -> list[Row]:
        """Every job of ours that the queue still knows, ended ones included."""

    @abstractmethod
    async def limits(self) -> Limits:
        """What the configuration says."""

    @abstractmethod
    async def sizes(self) -> Sizes:
        """What there is of nodes. Raises a `MemberError` that is not transient where the named queue is unknown."""

    async def accounted(self, ids: Sequence[str]) -> dict[str, Accounted]:
        """What the queue's accounting knows of ended tasks, by id; nothing where there is no accounting."""
        return {}

    # ---- changing ------------------------------------------------------------------------------------

    @abstractmethod
    async def remove(self, ids: Sequence[str]) -> None:
        """Take waiting jobs out of the queue; those that have ended are no error."""

    @abstractmethod
    async def terminate(self, ids: Sequence[str]) -> None:
        """Send SIGTERM to all processes of running jobs."""

    @abstractmethod
    async def kill(self, ids: Sequence[str]) -> None:
        """End jobs at once, whatever they do."""
