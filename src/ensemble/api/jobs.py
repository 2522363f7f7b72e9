"""Jobs as a script sees them: handles, filled in as the journal says how each job ended."""

from __future__ import annotations

__all__ = ["Job", "JobEnds"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ensemble.engine import Engine
from ensemble.journal import Follower
from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.runtime.folding import begin

Wait = Callable[["Job", float | None], None]
"""Waits until a job is over, at most so many seconds. Raises `TimeoutError` and `Refused`."""


class Job:
    """One job of a run.

    `key` and `parameters` are known from the first. `outcome` is empty until the job is over, and then success, failed,
    cancelled or lost, with the `reason`, the `figures` that were read from its output, the `duration` of its last
    attempt in seconds (None where it never ran), the number of that `attempt` and the `directory` it ran in.
    """

    __slots__ = (
        "_wait",
        "attempt",
        "directory",
        "duration",
        "figures",
        "group",
        "key",
        "outcome",
        "parameters",
        "reason",
    )

    def __init__(self, facts: dict[str, Any], wait: Wait) -> None:
        """Use `Run.submit`, `Run.completed` or `Run.job`."""
        self._wait = wait
        self.key: str = facts["key"]
        self.group: str = facts["group"]
        self.parameters: dict[str, Scalar] = facts["parameters"]
        self._fill(facts)

    def _fill(self, facts: dict[str, Any]) -> None:
        self.figures: dict[str, float] = facts["figures"]
        self.outcome: str = facts["outcome"]
        self.reason: str = facts["reason"]
        self.duration: float | None = facts["duration"]
        self.attempt: int = facts["attempt"]
        self.directory: str = facts["directory"]

    @property
    def done(self) -> bool:
        """Whether the job is over, as of what this script has read from the journal."""
        return bool(self.outcome)

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until it is over and return it.

        Raises `TimeoutError` after `timeout` seconds, and `Refused` when the run ends or is left before the job does.
        """
        if not self.outcome:
            self._wait(self, timeout)
        return self

    def __repr__(self) -> str:
        values = ", ".join(f"{axis}={value}" for axis, value in self.parameters.items())
        return f"Job({self.key}{': ' + values if values else ''}, {self.outcome or 'open'})"


class JobEnds:
    """Reads a run's journal, each record once, and keeps its jobs in the order in which they ended."""

    def __init__(self, run_dir: Path, wait: Wait) -> None:
        self._run_dir = run_dir
        self._wait = wait
        self._follower = Follower(run_dir)
        self._engine: Engine | None = None
        self._jobs: dict[str, Job] = {}
        self.ended: list[Job] = []

    @property
    def engine(self) -> Engine:
        """The run as of the last record that was read. At least one must have been."""
        assert self._engine is not None
        return self._engine

    def read(self, upto: int | None = None) -> bool:
        """Take in what the journal has, up to record `upto`. Whether there was anything new."""
        before = self._engine.seq if self._engine is not None else 0
        for record in self._follower.new(upto):
            if self._engine is None:
                self._engine = begin(record, self._run_dir)[0]
                self._engine.on_job_end(self._end)
            self._engine.apply(record)
        return self._engine is not None and self._engine.seq > before

    def job(self, key: str) -> Job:
        """The handle of a job. Raises `InputError` when there is none of that key."""
        found = self._jobs.get(key)
        if found is None:
            facts = self.engine.job(key)
            if facts is None:
                raise InputError(f"there is no job {key!r} in run {self._run_dir.name}")
            found = self._jobs[key] = Job(facts, self._wait)
        return found

    def _end(self, facts: dict[str, Any]) -> None:
        known = self._jobs.get(facts["key"])
        if known is None:
            known = self._jobs[facts["key"]] = Job(facts, self._wait)
        else:
            known._fill(facts)
        self.ended.append(known)
