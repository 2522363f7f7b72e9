"""An agent beside a Flux broker says what its queue has before any run has opened it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc", reason="the extra `service` is not installed here")

from ensemble.members.flux import FluxMember
from ensemble.members.minicluster import MiniClusterMember
from ensemble.members.remote.agent import Agent
from ensemble.session.security import Security, dial
from ensemble.session.v1 import session_pb2 as pb
from ensemble.session.v1 import session_pb2_grpc as rpc
from tests.flux.instance import missing, session
from tests.flux.test_faults import another

Ask = Any


@contextlib.asynccontextmanager
async def agent(folder: Path, member: type[FluxMember]) -> AsyncIterator[Ask]:
    """An agent that listens, and what asks for its status."""
    address, up = f"unix:{folder}/agent", asyncio.Event()
    serving = asyncio.ensure_future(
        Agent("flux", member, observe=member.observe).listen(address, Security(), lambda bound: up.set())
    )
    channel, _ = dial(address, Security())
    try:
        await up.wait()
        stub: Any = rpc.MemberEndpointStub(channel)
        yield lambda: stub.Status(pb.StatusRequest())
    finally:
        await channel.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def until(ask: Ask, true: Any) -> pb.StatusResponse:
    async with asyncio.timeout(60):
        while not true(answer := await ask()):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.05)
    return answer


@pytest.fixture(autouse=True)
def flux() -> None:
    if missing():
        pytest.skip(missing())


def test_nodes_and_queue_are_told_before_any_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_URI", session().uri)

    async def asked() -> None:
        async with agent(tmp_path, FluxMember) as ask:
            first = await until(ask, lambda answer: answer.nodes.node_up_count)
            assert (first.kind, first.sessions, first.nodes.node_up_count) == ("flux", 0, 2)
            job = session().run("submit", "sleep", "60").strip()
            await until(ask, lambda answer: answer.queue.run == 1)
            session().run("cancel", job)
            await until(ask, lambda answer: answer.queue.run == 0 and answer.queue.inactive > first.queue.inactive)

    asyncio.run(asked())


def test_in_a_pod_they_are_told_as_soon_as_the_broker_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLUX_URI", raising=False)
    monkeypatch.setenv("FLUX_VIEW", str(tmp_path / "view"))
    place = tmp_path / "view" / "config" / "run" / "flux" / "local"
    place.parent.mkdir(parents=True)

    async def asked() -> None:
        async with agent(tmp_path, MiniClusterMember) as ask:
            assert (await ask()).nodes.node_up_count == 0
            with another() as own:
                place.symlink_to(own.uri.removeprefix("local://"))
                await until(ask, lambda answer: answer.nodes.node_up_count == 1)
                place.unlink()
            await until(ask, lambda answer: answer.nodes.node_up_count == 0)

    asyncio.run(asked())
