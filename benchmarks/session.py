# ruff: noqa: D102, N802, ASYNC110
"""A session against raw batched gRPC streaming in the same run: events per second end to end (unjournaled), and the
latency from a member's event to the command it causes, idle and at 10,000 events a second.

The raw stream carries the same messages in batches of the same size between two processes as well: the sender makes
each event's message, the receiver reads its fields. `prebuilt` sends one batch that was made before, again and again.
"""

import asyncio
import itertools
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from grpc import aio

from ensemble.members.contract import Accepted, Context, Hello
from ensemble.members.remote import RemoteMember
from ensemble.members.remote.agent import Agent
from ensemble.model.events import JobEvent
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.session.limits import BATCH_EVENTS
from ensemble.session.security import Security, options
from ensemble.session.v1 import session_pb2, session_pb2_grpc

EVENTS = 200_000
ROUNDS = 7
PROBES = 1000
EVERY = 20
RATE = 10_000


# ---- the side of the queue, in a process of its own --------------------------------------------------


class Pump:
    """Puts events as fast as they go, or probes at a steady rate and times the commands that come back."""

    async def open(self, context):
        self.context, self.task, self.times, self.sent = context, None, {}, {}
        mode = context.options["mode"]
        self.task = asyncio.create_task(self.flood() if mode == "flood" else self.probe(context.options["rate"]))
        return Hello(frozenset(), "pump")

    async def flood(self):
        room = asyncio.Semaphore(8)
        for first in range(1, EVENTS + 1, BATCH_EVENTS):
            await room.acquire()
            events = [
                JobEvent("m", f"job-{n}", "run", 1.0, n) for n in range(first, min(first + BATCH_EVENTS, EVENTS + 1))
            ]
            asyncio.ensure_future(self.context.sink.put(events)).add_done_callback(lambda _: room.release())

    async def probe(self, rate):
        loop, n, began = asyncio.get_running_loop(), 0, time.perf_counter()
        puts = set()
        for number in range(PROBES):
            if rate:
                while n < (number + 1) * EVERY:
                    events = [JobEvent("m", "other-1", "run", 1.0, n := n + 1) for _ in range(10)]
                    puts.add(put := asyncio.ensure_future(self.context.sink.put(events)))
                    put.add_done_callback(puts.discard)
                    await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
            answered = self.times[number] = loop.create_future()
            self.sent[number] = time.perf_counter()
            puts.add(
                put := asyncio.ensure_future(
                    self.context.sink.put([JobEvent("m", f"probe-{number}", "run", 1.0, n := n + 1)])
                )
            )
            put.add_done_callback(puts.discard)
            if not rate:
                await answered
        await asyncio.gather(*self.times.values())
        Path(self.context.options["file"]).write_text(json.dumps([one.result() for one in self.times.values()]))

    async def submit(self, batch, jobs):
        now = time.perf_counter()
        for job in jobs:
            number = int(job.ref.key.partition("-")[2])
            self.times[number].set_result(now - self.sent[number])
        return [Accepted() for _ in jobs]

    async def close(self, mode):
        self.task.cancel()


class Raw(session_pb2_grpc.MemberEndpointServicer):
    """The bare stream: batches until there are no more."""

    async def Session(self, request_iterator, context):
        mode = (await context.read()).hello.session
        ready = None
        for first in range(1, EVENTS + 1, BATCH_EVENTS):
            if ready is None or mode == "built":
                batch = session_pb2.EventBatch(first=first, run="run")
                for n in range(first, min(first + BATCH_EVENTS, EVENTS + 1)):
                    job = batch.events.add().job
                    job.key, job.state, job.time, job.n, job.attempt = f"job-{n}", 5, 1.0, n, 1
                ready = session_pb2.AgentMessage(events=batch)
            await context.write(ready)


async def serve(kind):
    if kind == "agent":
        token = Path(tempfile.mkdtemp(), "token")
        token.touch(0o600)
        token.write_text(secrets.token_hex(16))
        security = Security(token_file=str(token))
        await Agent("pump", Pump, base=str(token.parent)).listen(
            "127.0.0.1:0", security, lambda at: print(at, token, flush=True)
        )
    server = aio.server(options=options())
    session_pb2_grpc.add_MemberEndpointServicer_to_server(Raw(), server)
    print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    await server.start()
    await server.wait_for_termination()


# ---- the side of the service -------------------------------------------------------------------------


class Sink:
    """Counts, and answers probes with a command, as an engine without a journal would."""

    def __init__(self):
        self.count, self.done, self.member, self.tasks = 0, asyncio.Event(), None, set()

    async def put(self, events):
        self.count += len(events)
        if self.count >= EVENTS:
            self.done.set()
        for event in events:
            if event.key.startswith("probe"):
                job = JobSpec(AttemptRef("run", event.key), "probe", "/", command=("true",))
                self.tasks.add(task := asyncio.ensure_future(self.member.submit(1, [job])))
                task.add_done_callback(self.tasks.discard)
        return events[-1].n


numbers = itertools.count(1)


async def session(address, **given):
    """One run through a session; returns seconds."""
    run, sink = f"run-{next(numbers)}", Sink()
    run = "run" if given["mode"] == "probe" else run
    sink.member = member = RemoteMember()
    began = time.perf_counter()
    address, token = address.split()
    opened = {"address": address, "token_file": token, **given}
    await member.open(Context(run, "m", "/nonexistent", 1, sink, opened))
    if given["mode"] == "flood":
        await sink.done.wait()
    else:
        while not Path(given["file"]).exists() or not Path(given["file"]).read_text().endswith("]"):
            await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    await member.close("cancel")
    return took


async def raw(address, mode):
    """The same events through a bare stream; returns seconds."""
    async with aio.insecure_channel(address, options=options()) as channel:
        began = time.perf_counter()
        call = session_pb2_grpc.MemberEndpointStub(channel).Session()
        await call.write(session_pb2.ServiceMessage(hello=session_pb2.ServiceHello(session=mode)))
        count = 0
        while (message := await call.read()) is not aio.EOF:
            for event in message.events.events:
                job = event.job
                _ = (job.key, job.state, job.time, job.n, job.attempt)
                count += 1
        assert count >= EVENTS
        return time.perf_counter() - began


async def measure(agent, bare):
    seconds = {"session": [], "raw": [], "prebuilt": []}
    for _ in range(ROUNDS):
        seconds["session"].append(await session(agent, mode="flood"))
        seconds["raw"].append(await raw(bare, "built"))
        seconds["prebuilt"].append(await raw(bare, "prebuilt"))
    best = {name: EVENTS / statistics.median(some) for name, some in seconds.items()}
    for name, rate in best.items():
        print(f"{name:9} {rate:9,.0f} events/s")
    for name, reach in (("raw", " (reach 0.50)"), ("prebuilt", "")):
        # round by round: what else the machine does then hits both
        ratios = [there / here for here, there in zip(seconds["session"], seconds[name], strict=True)]
        print(f"session / {name} {statistics.median(ratios):.2f}{reach}, from {min(ratios):.2f} to {max(ratios):.2f}")
    for rate in (0, RATE):
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/times"
            await session(agent, mode="probe", rate=rate, file=file)
            times = sorted(json.loads(Path(file).read_text()))
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        name = f"at {rate:,} events/s" if rate else "idle"
        print(f"event to command, {name}: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms")


def main():
    if len(sys.argv) > 1:
        asyncio.run(serve(sys.argv[1]))
        return
    others = [
        subprocess.Popen([sys.executable, __file__, kind], stdout=subprocess.PIPE, text=True)
        for kind in ("agent", "raw")
    ]
    try:
        asyncio.run(measure(*(other.stdout.readline().strip() for other in others)))
    finally:
        for other in others:
            other.kill()


if __name__ == "__main__":
    main()
