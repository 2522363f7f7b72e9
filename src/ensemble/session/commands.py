"""The two ends of commands: asked by the service, answered once by the agent, however often a stream breaks. No I/O."""

from __future__ import annotations

__all__ = ["AnsweredCommands", "PendingCommands"]

import asyncio
from collections.abc import Iterator

from ensemble.session.v1 import session_pb2 as pb


class PendingCommands:
    """The service's end: commands without an answer, sent again on each new stream."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, tuple[pb.Command, asyncio.Queue[pb.CommandResult | Exception]]] = {}
        self._parts: dict[int, int] = {}

    @property
    def answered(self) -> int:
        """Every command up to this one was answered."""
        return min(self._open) - 1 if self._open else self._last

    def ask(self, command: pb.Command) -> asyncio.Queue[pb.CommandResult | Exception]:
        """Number a command; return where its answers will be put."""
        self._last += 1
        command.id = self._last
        answers: asyncio.Queue[pb.CommandResult | Exception] = asyncio.Queue()
        self._open[self._last] = (command, answers)
        self._parts[self._last] = 0
        return answers

    def forget(self, command: pb.Command) -> None:
        """Nobody waits for this answer any more."""
        self._open.pop(command.id, None)
        self._parts.pop(command.id, None)

    def answer(self, result: pb.CommandResult) -> None:
        """Take an answer; one that nobody waits for, or that came before, falls."""
        found = self._open.get(result.id)
        if found is None or result.part != self._parts[result.id]:
            return
        self._parts[result.id] += 1
        found[1].put_nowait(result)
        if not result.more:
            del self._open[result.id], self._parts[result.id]

    def again(self) -> list[pb.Command]:
        """What must be sent on a new stream, in order."""
        return [command for _, (command, _) in sorted(self._open.items())]

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        for _, answers in self._open.values():
            answers.put_nowait(error)
        self._open.clear()
        self._parts.clear()


class AnsweredCommands:
    """The agent's end: does each command once and keeps its answer until it is known to have arrived."""

    def __init__(self) -> None:
        self._known: dict[int, list[pb.CommandResult]] = {}
        self._below = 0

    def begin(self, command: int) -> bool:
        """Whether this command is new (and now under way)."""
        if command <= self._below or command in self._known:
            return False
        self._known[command] = []
        return True

    def add(self, result: pb.CommandResult) -> None:
        """Keep a part of an answer."""
        parts = self._known.get(result.id)
        if parts is not None:
            result.part = len(parts)
            parts.append(result)

    def of(self, command: int) -> Iterator[pb.CommandResult]:
        """What there is of an answer."""
        yield from self._known.get(command, ())

    def prune(self, answered: int) -> None:
        """AnsweredCommands up to this command have arrived."""
        self._below = max(self._below, answered)
        for command in [one for one in self._known if one <= answered]:
            del self._known[command]
