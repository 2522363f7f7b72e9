"""A resize that fails is an event that rules react to, whoever finds out: the member, or the time that it may take."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from ensemble.members.contract import Accepted, Context, Hello, Receipt, Refused
from ensemble.model.decisions import Record
from ensemble.model.events import MemberEvent, ResizeDone
from ensemble.runtime import RunOptions, opening, run
from ensemble.runtime.loop import RunResult
from ensemble.spec.loader import loads

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "member"))
from ensemble_processes import ProcessMember

FILE = """
members: {m: {kind: processes, nodes: {min: 1, max: 9}, cores: 2, options: {resize_timeout: 1}}}
jobs:
  - {name: first, command: sleep 60}
  - {name: second, command: "true", submit: rules}
rules:
  - {trigger: member-open, action: {name: grow, value: 2}}
  - {trigger: member-resize-failed, action: {name: submit, label: second}}
  - {trigger: job-finish, name: second, action: {name: cancel, label: first}}
"""


class Grows(ProcessMember):
    """Says that it can be resized."""

    async def open(self, context: Context) -> Hello:
        hello = await super().open(context)
        return msgspec.structs.replace(hello, capabilities=hello.capabilities | {"resize"})

    async def resize(self, command: int, nodes: int) -> Receipt:
        return Accepted()


class Refuses(Grows):
    async def resize(self, command: int, nodes: int) -> Receipt:
        return Refused(f"it cannot have {nodes} nodes")


class GivesUp(Grows):
    async def resize(self, command: int, nodes: int) -> Receipt:
        self.n += 1
        self.outbox.append(MemberEvent("m", "resize-failed", n=self.n, text="no nodes came"))
        self.news.set()
        return Accepted()


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Grows, "not done after 1 s"), (Refuses, "it cannot have 3 nodes"), (GivesUp, "no nodes came")],
)
def test_a_rule_reacts_to_a_resize_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[ProcessMember], why: str
) -> None:
    monkeypatch.setattr(opening, "member_factory", lambda _: kind)
    records: list[Record] = []

    async def carry_out() -> RunResult:
        async with asyncio.timeout(60):
            return await run(loads(FILE), RunOptions(run_dir=str(tmp_path / "run")), [records.append])

    assert asyncio.run(carry_out()).outcome == "success"
    assert [one.event.error for one in records if isinstance(one.event, ResizeDone)] == [why]
    events = [one.event for one in records if isinstance(one.event, MemberEvent)]
    assert [event.text for event in events if event.name == "resize-failed"] == [why]
