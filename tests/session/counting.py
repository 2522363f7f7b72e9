"""An agent whose queue makes numbered events and writes down what it is asked.

Its stream lives on in what it can make again, as that of a queue with a journal does.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from ensemble.members.contract import Accepted, Hello, InventoryItem, Page, Refused
from ensemble.members.remote.agent import Agent
from ensemble.model.errors import EnsembleError, MemberError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import AttemptRef
from ensemble.session.security import Security


class CountingMember:
    """Options: `events` to make, in puts of `batch`, `ahead` of which may be under way."""

    def __init__(self, folder):
        self.ledger = Path(folder) / "ledger"
        self.tasks = []

    def note(self, *words):
        with self.ledger.open("a") as file:
            file.write(json.dumps(words) + "\n")

    async def open(self, context):
        self.context = context
        self.note("open", context.epoch, context.stream, context.position, context.run_dir)
        self.made = context.position
        self.asked = asyncio.Event()
        self.tasks = [asyncio.create_task(self.count())]
        return Hello(frozenset({"exactly-once", "absence-is-proof"}), "counting", 2, 2, 4, 4, 0, 2, "counts")

    async def count(self):
        options = self.context.options
        events, batch = int(options.get("events", 0)), int(options.get("batch", 50))
        ahead = asyncio.Semaphore(int(options.get("ahead", 1)))
        puts = []
        while self.made < events:
            await ahead.acquire()
            some = [self.event(n) for n in range(self.made + 1, min(self.made + batch, events) + 1)]
            self.made += len(some)
            put = asyncio.create_task(self.context.sink.put(some))
            put.add_done_callback(lambda _: ahead.release())
            puts.append(put)
            await asyncio.sleep(float(options.get("pause", 0)))
        await asyncio.gather(*puts)

    def event(self, n):
        return JobEvent(self.context.name, f"job-{n}", "run", time.time(), n)

    async def submit(self, batch, jobs):
        for job in jobs:
            self.note("submit", batch, job.ref.key, job.ref.attempt)
        return [Refused("no") if job.ref.key.startswith("bad") else Accepted(f"id-{job.ref.key}") for job in jobs]

    async def cancel(self, refs, grace):
        self.note("cancel", len(refs), grace)
        if self.context.options.get("leave"):
            os._exit(3)
        return [Accepted() for _ in refs]

    async def resize(self, command, nodes):
        if nodes == 13:
            raise RuntimeError("a fault of the queue's")
        if nodes == 14:
            raise MemberError("busy just now", transient=True)
        await self.context.sink.put([MemberEvent(self.context.name, "nodes", time.time(), nodes_up=nodes)])
        return Accepted()

    async def inventory(self):
        for place in range(int(self.context.options.get("pages", 2))):
            yield Page(
                tuple(InventoryItem(AttemptRef(self.context.run, f"job-{place * 100 + i}"), "run") for i in range(100))
            )
        yield Page((), last=True, complete=True, text="all")

    async def fetch(self, ref, path, offset, limit):
        if path == "none":
            raise MemberError(f"no {path} of {ref}")
        return bytes(i % 251 for i in range(offset, min(offset + limit, 3_000_000)))

    async def close(self, mode):
        self.note("close", mode)
        for task in self.tasks:
            task.cancel()


async def main(door, address, folder, options):
    agent = Agent(
        "counting",
        lambda: CountingMember(folder),
        run=options.get("run", ""),
        member=options.get("member", ""),
        base=folder,
        report=lambda text: print(text, flush=True),
        ping=options.get("ping", 10.0),
        silence=options.get("silence", 35.0),
        hello_seconds=options.get("hello", 10.0),
    )
    security = Security(**options.get("security", {}))
    if door == "connect":
        await agent.connect(address, security)
    else:
        await agent.listen(address, security, lambda bound: print(f"up {bound}", flush=True))


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:4], json.loads(sys.argv[4])))
    except EnsembleError as error:
        print(f"error {error}", flush=True)
        sys.exit(2)
