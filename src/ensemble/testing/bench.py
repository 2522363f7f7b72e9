"""The engine's side in the suite: a sink that can stop taking events, and members that are opened and closed."""

from __future__ import annotations

__all__ = ["Bench", "RecordingSink", "live", "refusals"]

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest

from ensemble.members.contract import CloseMode, Hello, InventoryItem, Member, Page, Receipt
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import JobSpec, Resources
from ensemble.testing.harness import Do, MemberHarness

LONG: Final = 120.0
"""Seconds of a job that a test ends itself."""

Event = JobEvent | NativeEvent | MemberEvent
Inventory = dict[tuple[str, int], InventoryItem]
"""What a back end knows, by (key, attempt)."""


class RecordingSink:
    """Keeps what is put. While `gate` is clear a `put` waits, as it does when the engine is behind."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.position = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.news = asyncio.Event()
        self.waiting = asyncio.Event()
        """A `put` waits, or has waited, for credit."""
        self.inside = 0
        self.together = 0
        """The most calls of `put` that were under way at once."""

    async def put(self, events: Sequence[Event]) -> int:
        """Take events in order. Returns the last `n`."""
        self.inside += 1
        self.together = max(self.together, self.inside)
        try:
            if not self.gate.is_set():
                self.waiting.set()
                await self.gate.wait()
            self.events += events
            self.position = max([self.position, *(event.n for event in events)])
            self.news.set()
            return self.position
        finally:
            self.inside -= 1

    def of(self, key: str, attempt: int = 1) -> list[JobEvent]:
        """The events of one attempt, in order."""
        return [e for e in self.events if isinstance(e, JobEvent) and (e.key, e.attempt) == (key, attempt)]

    def ends(self) -> list[JobEvent]:
        """Every `inactive` event, in order."""
        return [e for e in self.events if isinstance(e, JobEvent) and e.state == "inactive"]

    def numbers(self) -> list[int]:
        """The numbers `n` of the events, in the order in which they came."""
        return [event.n for event in self.events if event.n]


class Bench:
    """One harness with its members and sinks; whatever a test leaves open is closed after it."""

    def __init__(self, harness: MemberHarness) -> None:
        self.harness = harness
        self.sink = RecordingSink()
        self.hello = Hello(frozenset(), "")
        self.epoch = 0
        self._members: list[Member] = []

    async def open(self, **changes: Any) -> Member:
        """A member, opened for a new run."""
        member = self.harness.member()
        self._members.append(member)
        self.epoch = max(self.epoch, changes.get("epoch", 1))
        self.hello = await member.open(self.harness.context(self.sink, **changes))
        return member

    async def reopen(self, member: Member, **changes: Any) -> Member:
        """The member of an engine that was started again, with a new sink and the old one's position.

        Where jobs end with our process (no capability `durable`) it is the same member, opened again.
        """
        before, self.sink = self.sink, RecordingSink()
        again = self.harness.member() if "durable" in self.hello.capabilities else member
        if again is not member:
            self._members.append(again)
        context = {"epoch": self.epoch + 1, "stream": self.hello.stream, "position": before.position, "resumed": True}
        context.update(changes)
        self.epoch = max(self.epoch, int(str(context["epoch"])))
        self.hello = await again.open(self.harness.context(self.sink, **context))
        return again

    def needs(self, *capabilities: str) -> None:
        """Skip the test, with the reason, where the member does not claim the capability."""
        for capability in capabilities:
            if capability not in self.hello.capabilities:
                pytest.skip(f"this member has no capability {capability!r}")

    def needs_real(self) -> None:
        """Skip the test where jobs are not programs."""
        if not self.harness.real:
            pytest.skip("jobs of this member are not real programs")

    def needs_kill(self) -> None:
        """Skip the test where there is no process behind the member."""
        if type(self.harness).kill is MemberHarness.kill:
            pytest.skip("the harness of this member knows no process behind it that could be killed")

    def needs_cancel_outside(self) -> None:
        """Skip the test where people have no command of the queue's own to cancel a job with."""
        if type(self.harness).cancel_outside is MemberHarness.cancel_outside:
            pytest.skip("the harness of this member knows no way to cancel a job from outside")

    async def until(self, true: Callable[[], object], what: str) -> None:
        """Wait for events until something is true of them. After too long it fails with the last events."""
        sink = self.sink
        try:
            async with asyncio.timeout(self.harness.patience):
                while not true():
                    sink.news.clear()
                    await sink.news.wait()
        except TimeoutError:
            last = "\n  ".join(str(event) for event in sink.events[-20:]) or "nothing"
            pytest.fail(f"{what}: not within {self.harness.patience:g} s; the last events:\n  {last}")

    async def seen(self, true: Callable[[], object], what: str) -> None:
        """Wait until something is true that no event reports, such as a line in the ledger."""
        try:
            async with asyncio.timeout(self.harness.patience):
                while not true():  # noqa: ASYNC110 - a file has no event to wait for
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"{what}: not within {self.harness.patience:g} s")

    async def fill(self, member: Member, waiting: int) -> tuple[list[JobSpec], list[JobSpec]]:
        """Submit long jobs that take every node, wait until they run, and submit `waiting` more behind them.

        Returns those that run and those that wait.
        """
        whole = Resources(nodes=1, cores=self.hello.cores_per_node or self.harness.cores, exclusive=True)
        nodes = max(1, self.hello.nodes_up)
        first = [self.harness.job(f"first-{i}", Do(LONG), resources=whole) for i in range(nodes)]
        await member.submit(1001, first)
        for job in first:
            await self.running(job.ref.key)
        behind = [self.harness.job(f"behind-{i}", resources=whole) for i in range(waiting)]
        await member.submit(1002, behind)
        return first, behind

    async def running(self, key: str, attempt: int = 1) -> None:
        """Wait until an attempt is reported as running and, where it is a program, has really begun."""
        await self.until(lambda: any(e.state == "run" for e in self.sink.of(key, attempt)), f"{key}.{attempt} runs")
        if self.harness.real:
            line = f"start {key} {attempt}"
            await self.seen(lambda: line in self.harness.lines("start", key), f"{key}.{attempt} has begun")

    async def ended(self, key: str, attempt: int = 1) -> JobEvent:
        """Wait for the end of an attempt; return its last event."""
        await self.until(
            lambda: any(e.state == "inactive" for e in self.sink.of(key, attempt)), f"{key}.{attempt} ends"
        )
        return next(e for e in self.sink.of(key, attempt) if e.state == "inactive")

    def native_id(self, key: str, attempt: int = 1) -> str:
        """Return the queue's own name for an attempt; empty while it is not known."""
        return next((event.native_id for event in self.sink.of(key, attempt) if event.native_id), "")

    def waiting(self) -> dict[str, int]:
        """Why jobs wait, as the member sent it last."""
        sent = [e.waiting for e in self.sink.events if isinstance(e, MemberEvent) and e.waiting is not None]
        return sent[-1] if sent else {}

    async def all_ended(self, count: int) -> None:
        """Wait until that many attempts have ended."""
        await self.until(lambda: len(self.sink.ends()) >= count, f"{count} jobs end")

    async def run(self, member: Member, job: JobSpec) -> JobEvent:
        """Submit one job and wait for its end."""
        receipts = await member.submit(1000 + len(self.sink.events), [job])
        assert [type(receipt).__name__ for receipt in receipts] == ["Accepted"], receipts
        return await self.ended(job.ref.key, job.ref.attempt)

    async def inventory(self, member: Member) -> tuple[Inventory, Page]:
        """A whole inventory by (key, attempt), and its last page."""
        found: Inventory = {}
        last: Page | None = None
        async for page in member.inventory():
            assert last is None, "a page came after the last one"
            for item in page.items:
                ref = (item.ref.key, item.ref.attempt)
                assert ref not in found, f"{ref} stands in the inventory twice"
                found[ref] = item
            last = page if page.last else None
        assert last is not None, "no page of the inventory is the last"
        return found, last

    async def inventory_until(self, member: Member, true: Callable[[Inventory], bool]) -> Inventory:
        """Take inventories until something is true of one, which then is returned."""
        async with asyncio.timeout(self.harness.patience):
            while not true(found := (await self.inventory(member))[0]):  # noqa: ASYNC110 - asking is the only way
                await asyncio.sleep(0.02)
        return found

    async def close(self, member: Member, mode: CloseMode) -> None:
        """Close a member, which must be done in time."""
        async with asyncio.timeout(self.harness.patience):
            await member.close(mode)

    async def clean_up(self) -> None:
        """End what the test left."""
        self.sink.gate.set()
        for member in reversed(self._members):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(10):
                    await member.close("cancel")
        await self.harness.clean_up()


def live(test: Callable[[Any, Bench], Awaitable[None]]) -> Callable[[Any, MemberHarness], None]:
    """Run an async test of a `Bench` in an event loop of its own; pytest gives it the fixture `harness`."""

    async def whole(self: Any, harness: MemberHarness) -> None:
        bench = Bench(harness)
        try:
            async with asyncio.timeout(4 * harness.patience):
                await test(self, bench)
        finally:
            await bench.clean_up()

    def run_it(self: Any, harness: MemberHarness) -> None:
        asyncio.run(whole(self, harness))

    functools.update_wrapper(run_it, test)
    # pytest reads the signature of this one: it is `harness` that it must find there
    del run_it.__wrapped__  # type: ignore[attr-defined]
    return run_it


def refusals(receipts: Sequence[Receipt]) -> list[str]:
    """The kind of each receipt, in order: Accepted, Refused or Unknown."""
    return [type(receipt).__name__ for receipt in receipts]
