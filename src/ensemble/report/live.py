"""What a person sees while a run goes on: a live line on a terminal, plain lines otherwise, JSON lines for programs."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import msgspec

from ensemble.engine import Engine
from ensemble.model.decisions import Firing, Note, Record
from ensemble.model.events import JobEvent, MemberEvent, SubmitAnswered
from ensemble.report.text import closing, progress
from ensemble.runtime import RunResult
from ensemble.spec.model import EnsembleSpec

REFRESH = 0.2
PLAIN_SECONDS = 10.0


class Live:
    """Follows a run by its durable records, with an engine of its own that replays them."""

    def __init__(self, spec: EnsembleSpec, output: str, engine: Engine | None = None) -> None:
        from ensemble.runtime.opening import algorithms

        self.output = output
        self.debug = spec.logging.debug
        self.engine = engine or Engine(spec, algorithms=algorithms())
        self.terminal = output == "human" and sys.stdout.isatty()
        self._shown_at = 0.0
        self._width = 0
        self._said = False

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def observe(self, record: Record) -> None:
        """Take in one record; never raises, for a run does not depend on being watched."""
        try:
            self._observe(record)
        except (BrokenPipeError, OSError, ValueError):
            # nobody reads any more
            self.output = "quiet"
            with open(os.devnull, "w") as quiet:
                os.dup2(quiet.fileno(), 1)

    def _observe(self, record: Record) -> None:
        if self.output == "quiet":
            return
        if self.output == "json":
            sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
            sys.stdout.buffer.flush()
            return
        self.engine.apply(record)
        if not self._said and self.engine.state.run_dir:
            self._said = True
            self._line(f"run {self.engine.state.run} in {self.engine.state.run_dir}")
        for step in record.steps:
            if isinstance(step, Firing):
                why = ", ".join(f"{name} = {_short(value)}" for name, value in step.why.items())
                action = self.engine.state.rules[step.rule].action
                self._line(f"{step.rule} fired{': ' + why if why else ''} -> {action.name} {action.label}".rstrip())
            for effect in getattr(step, "effects", ()):
                if isinstance(effect, Note):
                    self._line(f"{effect.name}: {effect.text}")
        event = record.event
        if isinstance(event, MemberEvent) and event.name == "open":
            self._line(f"member {event.member}: {event.nodes_up} nodes, {event.cores_up} cores")
        elif isinstance(event, MemberEvent) and event.name in ("down", "gone"):
            self._line(f"member {event.member} is {event.name}: {event.text}")
        elif isinstance(event, MemberEvent) and event.name == "fault":
            self._line(f"member {event.member}: {event.text}")
        elif isinstance(event, JobEvent) and event.outcome not in ("", "success", "cancelled"):
            what = f" ({event.text})" if event.text else ""
            self._line(f"{event.key} attempt {event.attempt}: {event.outcome}, {event.reason}{what}")
        elif isinstance(event, SubmitAnswered):
            for key, attempt, why, transient in event.refused:
                if not transient:
                    self._line(f"{key} attempt {attempt}: failed, refused ({why})")
        elif self.debug and isinstance(event, JobEvent):
            self._line(f"{event.key} {event.state} {event.outcome}".rstrip())
        self._refresh()

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._shown_at < (REFRESH if self.terminal else PLAIN_SECONDS):
            return
        first = not self._shown_at
        self._shown_at = now
        text = progress(self.engine.status())
        if self.terminal:
            width = os.get_terminal_size().columns - 1
            text = text[:width]
            sys.stdout.write("\r" + text.ljust(self._width)[:width])
            sys.stdout.flush()
            self._width = len(text)
        elif not first:
            print(text, flush=True)

    def _line(self, text: str) -> None:
        self._clear()
        print(text, flush=True)

    def _clear(self) -> None:
        if self._width:
            sys.stdout.write("\r" + " " * self._width + "\r")
            self._width = 0

    def close(self, result: RunResult) -> None:
        """Say how it ended."""
        if self.output == "human":
            self._clear()
            if result.outcome in ("detached", "storage", "fenced"):
                print(
                    f"{result.run}: {result.outcome}: {result.reason}",
                    file=sys.stdout if result.outcome == "detached" else sys.stderr,
                )
            else:
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


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"
