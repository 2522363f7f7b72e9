# ruff: noqa: B006, B008, B023
"""What the tests of a session share: agents in processes of their own, a proxy that cuts, a sink that remembers."""

import asyncio
import atexit
import contextlib
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

from grpc import aio

from ensemble.members.contract import Context
from ensemble.members.remote import Acceptor, RemoteMember
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.session.security import Security, bind, options
from ensemble.session.v1 import session_pb2_grpc as rpc


def _secret():
    """A file with a token that everything here takes."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "token"
    path.touch(0o600)
    path.write_text(secrets.token_hex(16))
    return str(path)


SECRET = _secret()
HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds after which a test gives up waiting for what must happen."""


class Sink:
    """Keeps what it is given, as a journal would; knows the stream's position."""

    def __init__(self):
        self.events = []
        self.position = 0
        self.changed = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def put(self, events):
        await self.open.wait()
        self.events += events
        self.position = max([self.position, *(event.n for event in events)])
        self.changed.set()
        await asyncio.sleep(0)
        return self.position

    @property
    def numbers(self):
        return [event.n for event in self.events if isinstance(event, JobEvent)]

    def named(self, name):
        return [event for event in self.events if isinstance(event, MemberEvent) and event.name == name]

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Proxy:
    """Passes bytes on to an address and cuts connections after a random number of them."""

    def __init__(self, target, seed=0, least=200, most=20_000):
        self.target, self.random, self.least, self.most = target, Random(seed), least, most
        self.cuts = 0
        self.whole = False
        self.writers = set()
        self.frozen = asyncio.Event()
        self.frozen.set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()

    async def serve(self, reader, writer):
        host, port = self.target.rsplit(":", 1)
        try:
            there, back = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        left = [self.random.randint(self.least, self.most)]
        self.writers |= {writer, back}
        await asyncio.gather(self.pump(reader, back, left), self.pump(there, writer, left), return_exceptions=True)
        for one in (writer, back):
            one.transport.abort()
            self.writers.discard(one)

    async def pump(self, reader, writer, left):
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                await self.frozen.wait()
                if not self.whole:
                    data = data[: max(0, left[0])]
                    left[0] -= len(data)
                writer.write(data)
                await writer.drain()
                if left[0] <= 0 and not self.whole:
                    self.cuts += 1
                    break
        # both ways end together, as a cable does
        for one in (writer,):
            one.transport.abort()


class AgentProcess:
    """A counting agent in a process of its own."""

    def __init__(self, door, address, folder, **given):
        self.door, self.address, self.folder, self.given = door, address, Path(folder), given
        self.lines = []
        self.came = asyncio.Event()

    async def __aenter__(self):
        await self.start()
        return self

    async def start(self):
        self.folder.mkdir(exist_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "counting.py"),
            self.door,
            self.address,
            str(self.folder),
            json.dumps(self.given),
            stdout=asyncio.subprocess.PIPE,
        )
        self.reading = asyncio.create_task(self.read())
        if self.door == "listen":
            line = await self.until("up ")
            self.address = line.split()[1]

    async def read(self):
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().strip())
            self.came.set()
        await self.process.wait()
        self.lines.append(f"exit {self.process.returncode}")
        self.came.set()

    async def until(self, text):
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                assert not any(line.startswith("exit") for line in self.lines), self.lines
                self.came.clear()
                await self.came.wait()

    async def end(self):
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self.reading

    async def __aexit__(self, *_):
        await self.kill()

    @property
    def ledger(self):
        path = self.folder / "ledger"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextlib.asynccontextmanager
async def service(address="127.0.0.1:0", security=Security(token_file=SECRET), verifier=None, **given):
    """A acceptor that listens; gives it and its address."""
    server = aio.server(options=options())
    acceptor = Acceptor(verifier, **given)
    rpc.add_MembersServicer_to_server(acceptor, server)
    bound = bind(server, address, security)
    await server.start()
    try:
        yield acceptor, bound
    finally:
        await acceptor.close()
        await server.stop(0)


@contextlib.asynccontextmanager
async def both(door, folder, *, proxy=None, acceptor_options={}, **given):
    """A counting agent behind a proxy (if any); gives the agent, the proxy, and what makes members for it."""
    if door == "listen":
        async with (
            AgentProcess("listen", "127.0.0.1:0", folder, security={"token_file": SECRET}, **given) as agent,
            contextlib.AsyncExitStack() as stack,
        ):
            between = await stack.enter_async_context(Proxy(agent.address, **proxy)) if proxy is not None else None
            address = between.address if between else agent.address
            yield agent, between, RemoteMember, {"address": address, "token_file": SECRET}
    else:
        async with service(**acceptor_options) as (acceptor, bound), contextlib.AsyncExitStack() as stack:
            between = await stack.enter_async_context(Proxy(bound, **proxy)) if proxy is not None else None
            address = between.address if between else bound
            agent = AgentProcess("connect", address, folder, **{"run": "run-1", "member": "far", **given})
            async with agent:
                yield agent, between, lambda: RemoteMember(acceptor), {}


def context(sink, **given):
    """What a member is opened with."""
    fields = {"run": "run-1", "name": "far", "run_dir": "/nonexistent/run-1", "epoch": 1, **given}
    return Context(sink=sink, **fields)


def job(key, **given):
    """A job of the run."""
    return JobSpec(AttemptRef("run-1", key), "job", "/nonexistent/run-1/jobs/x", command=("true",), **given)


async def reopen_when_down(member, sink, made):
    """What the runtime does: open the member again whenever it is down, where the journal ends."""
    seen = 0
    while True:
        await sink.until(lambda: len(sink.named("down")) > seen)
        seen = len(sink.named("down"))
        while True:
            try:
                await member.open(made(stream="counting", position=sink.position, resumed=True))
            except Exception as error:
                if not getattr(error, "transient", False):
                    raise
                await asyncio.sleep(0.05)
            else:
                break
