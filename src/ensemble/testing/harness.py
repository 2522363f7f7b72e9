"""What the conformance suite must know of a back end: how to make a member, and jobs that behave as a test needs."""

from __future__ import annotations

__all__ = ["Do", "MemberHarness"]

import shlex
from pathlib import Path
from secrets import token_hex
from typing import Any

from msgspec import Struct

from ensemble.members.contract import Context, Member, Sink
from ensemble.model.jobs import AttemptRef, JobSpec, Resources


class Do(Struct, frozen=True):
    """What a job of the suite is to do, in this order: print, run `script`, sleep, and end as stated here."""

    seconds: float = 0.0
    exit_code: int = 0
    signal: int = 0
    """A signal that it gets from itself at its end, in place of an exit code."""
    prints: str = ""
    script: str = ""
    """Lines for `/bin/sh`; only used where `MemberHarness.real`."""


class MemberHarness:
    """One back end under test: subclass it, say `member`, and what differs of the rest. Made anew for each test.

    `folder` is the test's own empty directory, which the machine that runs the jobs must see at the same path.
    """

    real = True
    """Jobs are real programs: they write, print and can be counted. False skips what reads their files."""
    patience = 30.0
    """Seconds after which something that should have happened will not."""
    walltime = 0.5
    """The least walltime in seconds that this back end can enforce soon; 0 skips that promise."""
    burst = 300
    """How many jobs are submitted at once in the test of many."""
    cores = 4
    """Cores asked for in the context; 0 leaves it to the member."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = f"conformance-{token_hex(3)}"
        self.ledger = folder / "ledger"

    @classmethod
    def missing(cls) -> str:
        """Why this back end cannot be tested here; empty when it can. Every test is then skipped with this reason."""
        return ""

    def member(self) -> Member:
        """Make an unopened member. A second one is the member of an engine that was started again."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """The member's options, as they stand in the file."""
        return {}

    def context(self, sink: Sink, **changes: Any) -> Context:
        """What the member is opened with."""
        fields: dict[str, Any] = {
            "run": self.run,
            "name": "m",
            "run_dir": str(self.folder),
            "epoch": 1,
            "sink": sink,
            "options": self.options(),
            "cores": self.cores,
            "wanted": (),
        }
        return Context(**{**fields, **changes})

    def ref(self, key: str, attempt: int = 1) -> AttemptRef:
        """The identity of one attempt of this test's run."""
        return AttemptRef(self.run, key, attempt)

    def job(self, key: str, do: Do | None = None, *, attempt: int = 1, **fields: Any) -> JobSpec:
        """Return a job that does this. It writes `start <key> <attempt>` and `end <key> <attempt>` into the ledger.

        `fields` replace those of the `JobSpec`; `env` is added to the variables that every job gets.
        """
        variables = {
            "ENSEMBLE_RUN": self.run,
            "ENSEMBLE_RUN_DIR": str(self.folder),
            "ENSEMBLE_GROUP": key.rpartition("-")[0],
            "ENSEMBLE_KEY": key,
            "ENSEMBLE_ATTEMPT": str(attempt),
        }
        given: dict[str, Any] = {
            "group": key.rpartition("-")[0],
            "workdir": str(self.folder / "jobs" / key),
            "command": self.command(do or Do()),
            **fields,
            "env": {**variables, **fields.get("env", {})},
        }
        return JobSpec(self.ref(key, attempt), **given)

    def command(self, do: Do) -> tuple[str, ...]:
        """Return the command of a program that does this."""
        ledger = shlex.quote(str(self.ledger))
        note = f'"$ENSEMBLE_KEY" "$ENSEMBLE_ATTEMPT" >> {ledger}'
        lines = [
            f"echo start {note}",
            *([f"printf %s {shlex.quote(do.prints)}"] if do.prints else []),
            *([do.script] if do.script else []),
            *([f"sleep {do.seconds}"] if do.seconds else []),
            f"echo end {note}",
            f"kill -{do.signal} $$" if do.signal else f"exit {do.exit_code}",
        ]
        return ("/bin/sh", "-c", "\n".join(lines))

    def impossible(self, key: str) -> JobSpec:
        """A job that can never run here, so that `submit` refuses it for good."""
        return self.job(key, resources=Resources(tasks=1_000_000))

    async def kill(self) -> None:
        """End the process behind the member by force (keeper, agent, broker), the jobs left as they are.

        Not overridden: there is none, and what follows from it is skipped.
        """
        raise NotImplementedError

    async def cancel_outside(self, native_id: str) -> None:
        """Cancel a job as a person does with the queue's own command.

        Not overridden: the queue has none, and what follows from it is skipped.
        """
        raise NotImplementedError

    def lines(self, what: str, key: str = "") -> list[str]:
        """The lines `start ...` or `end ...` that jobs have written into the ledger, of one key or all."""
        if not self.ledger.exists():
            return []
        found = [line for line in self.ledger.read_text().splitlines() if line.split()[:1] == [what]]
        return [line for line in found if not key or line.split()[1] == key]

    async def clean_up(self) -> None:
        """Called after each test, after every member was closed with `cancel`."""
