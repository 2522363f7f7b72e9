"""A member that does not answer, whatever its kind: it counts as gone, is opened again, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ensemble.members.contract import CloseMode, Receipt
from ensemble.model.decisions import Record
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.runtime import RunOptions, answering, link, loop, opening, run, signals
from ensemble.runtime.loop import RunResult
from ensemble.spec.loader import loads

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "member"))
from ensemble_processes import ProcessMember


class Mute(ProcessMember):
    """Does not answer the calls named, the first time."""

    mute: set[str]

    async def _perhaps(self, call: str) -> None:
        if call in self.mute:
            self.mute.discard(call)
            await asyncio.Event().wait()

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        await self._perhaps("submit")
        return await super().submit(batch, jobs)

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        await self._perhaps("cancel")
        return await super().cancel(refs, grace)

    async def close(self, mode: CloseMode) -> None:
        await self._perhaps("close")
        await super().close(mode)


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a file on a member that is mute for the calls given; returns the result and the records."""
    monkeypatch.setattr(answering, "CALL_SECONDS", 1)
    monkeypatch.setattr(link, "CLOSE_SECONDS", 1.0)
    monkeypatch.setattr(signals, "TERM_SECONDS", 0.5)

    def drive(text: str, *calls: str, term: bool = False) -> tuple[RunResult, list[Record]]:
        kind = type("Kind", (Mute,), {"mute": set(calls)})
        monkeypatch.setattr(opening, "member_factory", lambda _: kind)
        records: list[Record] = []

        def observe(record: Record) -> None:
            records.append(record)
            if term and isinstance(record.event, MemberEvent) and record.event.name == "open":
                os.kill(os.getpid(), signal.SIGTERM)

        result = asyncio.run(run(loads(text), RunOptions(run_dir=str(tmp_path / "run"), signals=True), [observe]))
        return result, records

    return drive


def down(records: list[Record]) -> list[str]:
    return [one.event.text for one in records if isinstance(one.event, MemberEvent) and one.event.name == "down"]


def test_a_call_without_an_answer_puts_the_member_down_and_it_is_opened_again(drive: Any) -> None:
    result, records = drive("jobs: [{name: a, command: 'true', count: 5}]", "submit")
    assert result.outcome == "success"
    assert down(records) == ["no answer to `submit` for 1 s"]


def test_a_cancel_without_an_answer_is_sent_again(drive: Any) -> None:
    text = "limits: {walltime: 500ms, on_limit: cancel}\njobs: [{name: a, command: sleep 60}]"
    result, records = drive(text, "cancel")
    assert result.outcome == "limit"
    ends = [one.event.outcome for one in records if isinstance(one.event, JobEvent) and one.event.outcome]
    assert ends == ["cancelled"]


def test_a_limit_that_cancels_ends_the_run_of_a_member_that_answers_nothing(drive: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(answering, "CALL_SECONDS", 300)
    monkeypatch.setattr(link, "QUIET_SECONDS", 1)
    monkeypatch.setattr(loop, "LIMIT_SECONDS", 1)
    result, _ = drive("limits: {walltime: 500ms, on_limit: cancel}\njobs: [{name: a, command: sleep 60}]", "cancel")
    assert (result.outcome, result.exit_code) == ("limit", 3)
    assert "local did not answer when a limit was reached" in result.reason


def test_sigterm_leaves_a_member_that_answers_nothing_and_does_not_let_go(drive: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(answering, "CALL_SECONDS", 300)
    monkeypatch.setattr(link, "CLOSE_SECONDS", 300.0)
    result, _ = drive("jobs: [{name: a, command: sleep 60}]", "submit", "close", term=True)
    assert (result.outcome, result.exit_code) == ("detached", 130)
    assert result.warnings == ["member local did not let go in time"]
