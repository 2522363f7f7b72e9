"""Agents that misbehave at a real server: each is sent away with its reason, and costs nobody a job."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys

import pytest

pytest.importorskip("grpc", reason="the service needs the extra `service`")

from grpc import aio

from ensemble.runs.remote import RemoteRuns
from ensemble.session.security import Security, options
from ensemble.session.stream import ByeCode
from ensemble.session.v1 import model_pb2 as model
from ensemble.session.v1 import session_pb2 as pb
from ensemble.session.v1 import session_pb2_grpc as rpc
from tests.service.world import SMALL, agent, local, write

FAR = """
name: far
members: {far: {kind: remote}}
jobs:
  - {name: work, shell: true, count: 3, command: 'echo {key} >> LEDGER'}
"""


def batch(first, count, run="far-1", key="work"):
    events = [
        model.SourceEvent(job=model.JobEvent(key=f"{key}-{n}", state=model.JOB_STATE_RUN, n=n, attempt=1))
        for n in range(first, first + count)
    ]
    return pb.AgentMessage(events=pb.EventBatch(first=first, events=events, run=run))


@contextlib.asynccontextmanager
async def dialled(server):
    """A stream to the server's door for agents; nothing is said yet."""
    async with aio.insecure_channel(server.address, options=options()) as channel:
        yield rpc.MembersStub(channel).Session()


async def opened(call):
    """Say hello as an agent for `far`, and answer `Open`."""
    hello = pb.AgentHello(min_version=1, max_version=1, agent="impostor", member="far", kind="local")
    await call.write(pb.AgentMessage(hello=hello))
    while (message := await call.read()) is not aio.EOF:
        if message.HasField("command"):
            assert message.command.HasField("open")
            answer = pb.Opened(stream="s", sequence=0)
            await call.write(pb.AgentMessage(result=pb.CommandResult(id=message.command.id, opened=answer)))
            return
    raise AssertionError("the stream ended before `Open`")


async def bye(call):
    """The goodbye that the server says."""
    while (message := await call.read()) is not aio.EOF:
        if message.HasField("bye"):
            return message.bye
    raise AssertionError("the stream ended without a goodbye")


def patient(work):
    async def inside():
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(inside())


def runs_with_a_proper_agent(server, tmp_path):
    """The run ends with success under an agent that behaves; each job ran once. Its events."""
    with agent(server, "--name", "far"):
        events = server.verb("events", "--follow", "far-1").stdout
    assert "far-1: success" in server.verb("status", "far-1").stdout
    assert sorted((tmp_path / "ledger").read_text().split()) == ["work-0", "work-1", "work-2"]
    assert local(tmp_path, "verify", "state/runs/far-1").returncode == 0
    return [json.loads(line)["event"] for line in events.splitlines()]


@pytest.mark.parametrize(
    ("message", "code", "fault"),
    [
        (batch(1, 9000), ByeCode.FLOOD, "flood"),
        (batch(1, 2, run="other-1"), ByeCode.PROTOCOL, "wrong-run"),
        (batch(5, 2), ByeCode.PROTOCOL, "protocol"),
        (pb.AgentMessage(events=pb.EventBatch(first=1, run="far-1", events=[model.SourceEvent()])), 8, "protocol"),
    ],
    ids=["flood", "another run's events", "a hole in the numbers", "an event of no kind"],
)
def test_an_agent_that_misbehaves_is_sent_away_and_the_next_one_runs_the_jobs(message, code, fault, serve, tmp_path):
    server = serve()
    assert server.verb("run", "--detach", write(tmp_path, FAR.replace("LEDGER", f"{tmp_path}/ledger"))).returncode == 0

    async def misbehave():
        async with dialled(server) as call:
            await opened(call)
            await call.write(message)
            return (await bye(call)).code

    assert patient(misbehave()) == code
    assert server.verb("run", write(tmp_path, SMALL, "small.yaml")).returncode == 0
    events = runs_with_a_proper_agent(server, tmp_path)
    faults = [event["text"] for event in events if event.get("name") == "fault"]
    assert any(fault in text for text in faults), faults
    assert not [event for event in events if event["type"] == "job" and event["time"] == 0], "nothing of it was taken"


def test_events_of_jobs_that_the_ensemble_does_not_have_are_noted_and_change_nothing(serve, tmp_path):
    server = serve()
    assert server.verb("run", "--detach", write(tmp_path, FAR.replace("LEDGER", f"{tmp_path}/ledger"))).returncode == 0

    async def tell():
        async with dialled(server) as call:
            await opened(call)
            await call.write(batch(1, 5, key="melt"))
            await until(server, lambda event: getattr(event, "key", "") == "melt-5")
            await call.write(pb.AgentMessage(bye=pb.Bye(code=pb.BYE_CODE_REOPEN)))

    patient(tell())
    runs_with_a_proper_agent(server, tmp_path)
    assert json.loads(server.verb("status", "far-1", "-o", "json").stdout)["notes"]["unknown-job"] == 5


def test_who_never_says_hello_or_speaks_another_version_is_sent_away_and_holds_nobody_up(serve, tmp_path):
    server = serve()

    async def visit(first):
        async with dialled(server) as call:
            if first is not None:
                await call.write(first)
            return (await bye(call)).code

    async def visits():
        hello = pb.AgentHello(min_version=7, max_version=9, member="far")
        early = batch(1, 1)
        silent = [asyncio.create_task(visit(None)) for _ in range(50)]
        others = await asyncio.gather(visit(pb.AgentMessage(hello=hello)), visit(early))
        ran = await asyncio.to_thread(server.verb, "run", write(tmp_path, SMALL))
        return others, ran.returncode, set(await asyncio.gather(*silent))

    others, ran, silent = patient(visits())
    assert others[0] == ByeCode.VERSION
    assert others[1] in (ByeCode.PROTOCOL, ByeCode.NO_HELLO)
    assert ran == 0
    assert silent == {ByeCode.NO_HELLO}
    log = (tmp_path / "log").read_text()
    assert "ensemble-server: version" in log
    assert "this side speaks 1" in log
    assert log.count("ensemble-server: no-hello") >= 50


def test_an_agent_that_stalls_is_given_up_and_taken_back_when_it_wakes(serve, tmp_path):
    server = serve()
    with subprocess.Popen(
        [sys.executable, "-m", "ensemble", "agent", "--listen", f"unix:{tmp_path}/agent"],
        cwd=tmp_path,
        env=server.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        address = process.stdout.readline().split()[-1]
        try:
            options = f"{{address: '{address}', ping: 0.3, silence: 1.5, outage: 1}}"
            gate = f"echo {{key}} >> {tmp_path}/ledger; until test -e {tmp_path}/gate; do sleep 0.1; done"
            text = FAR.replace("kind: remote", f"kind: remote, options: {options}")
            text = text.replace("echo {key} >> LEDGER", gate)
            assert server.verb("run", "--detach", write(tmp_path, text)).returncode == 0
            patient(until(server, lambda event: getattr(event, "state", "") == "run"))
            process.send_signal(signal.SIGSTOP)
            patient(until(server, lambda event: getattr(event, "name", "") == "down"))
            assert server.verb("run", write(tmp_path, SMALL, "small.yaml")).returncode == 0
            (tmp_path / "gate").touch()
            process.send_signal(signal.SIGCONT)
            patient(until(server, lambda event: getattr(event, "name", "") == "up"))
            server.verb("events", "--follow", "far-1")
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
    assert "far-1: success" in server.verb("status", "far-1").stdout
    assert sorted((tmp_path / "ledger").read_text().split()) == ["work-0", "work-1", "work-2"]


async def until(server, condition):
    """Wait for such an event of `far-1`."""

    def wait():
        with RemoteRuns(server.address, Security()) as runs:
            for record in runs.find("far-1").events(follow=True):
                if condition(record.event):
                    return
        raise AssertionError("the run ended before that")

    await asyncio.to_thread(wait)
