"""What a job is: its identity, its states, and the full description a member receives."""

from __future__ import annotations

__all__ = [
    "COUNTS",
    "FINISHED",
    "OUTCOMES",
    "REASONS",
    "RESULT_COUNTS",
    "STATES",
    "STORED_COUNTS",
    "UNDER_WAY",
    "AttemptRef",
    "FileInput",
    "JobSpec",
    "OutputSpec",
    "Resources",
    "Scalar",
    "split_key",
]

from typing import Any, Final

from msgspec import Struct

Scalar = int | float | str | bool

STATES: Final = ("new", "submitted", "depend", "sched", "run", "cleanup", "inactive")
"""The states of a job, in their legal order. A missed one is filled in; a job never goes back to an earlier one
within one (attempt, incarnation)."""

FINISHED: Final = "inactive"

OUTCOMES: Final = ("success", "failed", "cancelled", "lost")
"""How an inactive job ended. `lost`: seen once, and the queue proves that it is gone."""

COUNTS: Final = {
    "submitted": "created so far",
    "pending": "not yet running",
    "running": "running",
    "active": "pending or running",
    "finished": "over, however they ended",
    "success": "over and successful",
    "failed": "over and failed, after their last attempt",
    "cancelled": "cancelled",
    "lost": "gone with the node or queue they were on",
    "failed_attempts": "attempts that failed, including those that were retried",
}
"""What `count.<group>.` counts besides the values of a quantity."""

STORED_COUNTS: Final = ("submitted", "pending", "running", *OUTCOMES, "failed_attempts")
"""Those of them that are kept; `active` and `finished` are sums."""

RESULT_COUNTS: Final = (*OUTCOMES, "failed_attempts")
"""Those that count how jobs ended."""

UNDER_WAY: Final = STATES[STATES.index("depend") : STATES.index(FINISHED)]
"""The states of a job that is with its queue and not over."""

REASONS: Final = (
    "exit",  # exit code other than 0
    "signal",  # ended by a signal it did not get from us
    "walltime",  # ran into its walltime
    "valid",  # exit code 0, but `valid` is false or unknown
    "launch",  # program not found, not executable, working directory missing
    "setup",  # the `setup` lines failed
    "cleanup",  # the `cleanup` lines failed after a good exit
    "inputs",  # an input could not be staged or rendered
    "outputs",  # a required output did not match
    "refused",  # the queue refused the submission for good
    "duplicate",  # another process holds the claim of this ref
    "cancelled",  # on request
    "infrastructure",  # node, broker or keeper died under it: does not spend `retries`
    "storage",  # the job's directory could not be written (disk full, read-only)
)
"""Why an attempt did not succeed: what `retries.reasons` names."""


class AttemptRef(Struct, frozen=True, gc=False, array_like=True, order=True):
    """The identity of one attempt of one job. A retry is another attempt, never a re-send."""

    run: str
    key: str
    attempt: int = 1

    def __str__(self) -> str:
        return f"{self.run}/{self.key}.{self.attempt}"


def split_key(key: str) -> tuple[str, int]:
    """Split `<group>-<n>` into group and n. Raises `ValueError` when `key` is not of that form."""
    group, _, number = key.rpartition("-")
    if not group:
        raise ValueError(f"not a job key: {key!r}")
    return group, int(number)


class Resources(Struct, frozen=True, omit_defaults=True):
    """What a job needs. `cores` and `gpus` are per task. `nodes` 0: the member packs tasks as it likes."""

    nodes: int = 0
    tasks: int = 1
    cores: int = 1
    gpus: int = 0
    exclusive: bool = False
    binding: str = ""

    @property
    def total_cores(self) -> int:
        """Cores over all tasks."""
        return self.tasks * self.cores

    @property
    def total_gpus(self) -> int:
        """GPUs over all tasks."""
        return self.tasks * self.gpus


class FileInput(Struct, frozen=True, omit_defaults=True):
    """A file put into the work directory before the job: linked (`path`) or rendered (`text`)."""

    to: str
    path: str = ""
    text: str | None = None


class OutputSpec(Struct, frozen=True, omit_defaults=True):
    """How one figure of merit is read from what the job wrote, beside the files, where it ran.

    `source` is a path relative to the work directory, or `stdout`/`stderr`. Exactly one of `pattern`
    (a regular expression whose first group is the number), `pointer` (RFC 6901) or `function`
    (`module:name`, gets the path, returns a number) is set. `take`: first, last, min, max, mean, sum, count.
    """

    name: str
    source: str = "stdout"
    pattern: str = ""
    pointer: str = ""
    function: str = ""
    take: str = "last"
    required: bool = False


class JobSpec(Struct, frozen=True, omit_defaults=True):
    """Everything a member needs to run one attempt; all placeholders are filled in.

    Exactly one of `command` (argv, started without a shell) and `script` (text run by `/bin/sh -e`, or
    by the interpreter its `#!` line names) is set. `walltime` is in seconds, 0 is none. `env` is added to what
    the member's environment gives. `workdir`, `stdout`, `stderr` are absolute or relative to the run directory.
    """

    ref: AttemptRef
    group: str
    workdir: str
    command: tuple[str, ...] = ()
    script: str = ""
    resources: Resources = Resources()
    launcher: str = "auto"
    walltime: float = 0.0
    env: dict[str, str] = {}
    setup: str = ""
    cleanup: str = ""
    inputs: tuple[FileInput, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    stdout: str = "stdout"
    stderr: str = "stderr"
    keep: str = "all"
    point: dict[str, Scalar] = {}
    avoid: tuple[str, ...] = ()
    duration: dict[str, Any] = {}
    """Only for the simulated member: what the group's `simulate` says (see `ensemble/simulation`)."""
    options: dict[str, Scalar] = {}
    """Back-end options of the group, such as Slurm's partition."""
