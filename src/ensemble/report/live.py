"""What is shown while a run goes on: a live view on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

__all__ = ["Live"]

import contextlib
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ensemble.engine import Engine
from ensemble.model.decisions import Record
from ensemble.model.events import RunResumed
from ensemble.report.messages import Message, Messages
from ensemble.report.text import closing, progress
from ensemble.runtime import RunResult
from ensemble.runtime.opening import algorithms
from ensemble.spec.model import EnsembleSpec

if TYPE_CHECKING:
    from ensemble.report.terminal import Screen

PLAIN_SECONDS: Final = 10.0
"""Between two lines on how the run stands, where there is no terminal."""


class Live:
    """Follows a run by its durable records, with an engine of its own that replays them."""

    def __init__(self, spec: EnsembleSpec, output: str, engine: Engine | None = None) -> None:
        """`output` is human, json or quiet; `engine`: the state up to which a resumed run has come."""
        self.output = output
        self.engine = engine or Engine(spec, algorithms=algorithms())
        self._messages = Messages(spec.logging.debug)
        self._screen: Screen | None = None
        self._next_line = time.monotonic() + PLAIN_SECONDS
        if output == "human" and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            # an import that only a terminal pays for
            from ensemble.report.terminal import Screen

            self._screen = Screen(partial(self.engine.status, points=False), lambda: self.engine.limits)

    def __enter__(self) -> Live:
        if self._screen is not None:
            self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def observe(self, record: Record) -> None:
        """Take in one record. Never raises: a run does not depend on being watched."""
        try:
            self._observe(record)
        except (OSError, ValueError):
            # nobody reads any more
            self.output = "quiet"
            with open(os.devnull, "w") as quiet:
                os.dup2(quiet.fileno(), 1)
            self._stop()
            self._screen = None

    def _observe(self, record: Record) -> None:
        if self.output == "quiet":
            return
        if self.output == "json":
            sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
            sys.stdout.buffer.flush()
            return
        if isinstance(record.event, RunResumed):
            self._messages.run = self.engine.view.run
        messages = self._messages.add(record)
        if self._screen is not None:
            with self._screen.lock:
                self.engine.apply(record)
            self._screen.changed()
            self._screen.print(messages)
            return
        self.engine.apply(record)
        self._print(messages)
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + PLAIN_SECONDS
            print(progress(self.engine.status(points=False)), flush=True)

    def _print(self, messages: list[Message]) -> None:
        for message in messages:
            print(message.text)
        if messages:
            sys.stdout.flush()

    def _stop(self) -> None:
        if self._screen is not None:
            self._screen.stop()

    def close(self, result: RunResult) -> None:
        """Say how it ended."""
        if self.output == "human":
            rest = self._messages.rest()
            if self._screen is not None:
                self._screen.print(rest)
                self._stop()
            else:
                self._print(rest)
            if result.outcome in ("detached", "storage", "fenced"):
                print(
                    f"{result.run}: {result.outcome}: {result.reason}",
                    file=sys.stdout if result.outcome == "detached" else sys.stderr,
                )
            else:
                with contextlib.suppress(BrokenPipeError):
                    print("\n" + closing(result.status, result.warnings), flush=True)
        elif self.output == "json":
            data: dict[str, Any] = {
                "run": result.run,
                "run_dir": result.run_dir,
                "outcome": result.outcome,
                "reason": result.reason,
                "exit_code": result.exit_code,
                "warnings": result.warnings,
            }
            print(msgspec.json.encode(data).decode(), flush=True)
