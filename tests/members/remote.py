"""The remote member over a local one, through both doors: the agent is a process of its own, dialled or dialling."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from grpc import aio

from ensemble.members.contract import Member
from ensemble.members.remote import Acceptor, RemoteMember
from ensemble.session.security import Security, bind, options
from ensemble.session.v1 import session_pb2_grpc as rpc
from ensemble.testing import MemberHarness


class RemoteHarness(MemberHarness):
    """What both doors share: an agent that is killed is started again, as a service manager would."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.agent: subprocess.Popen[bytes] | None = None
        self.log = folder / "agent.log"

    def start(self, *arguments: str) -> None:
        """Start an agent."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "ensemble", "agent", "--member", "local", *arguments]
            self.agent = subprocess.Popen(command, stdout=log, stderr=log)

    async def kill(self) -> None:
        """End both the agent and the keeper behind it."""
        _, _, pid = (self.folder / "keeper" / "m.socket").read_text().split()
        os.kill(int(pid), signal.SIGKILL)
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()
        self.agent = None
        self.again()

    def again(self) -> None:
        """Start the agent as it was started."""
        raise NotImplementedError

    async def clean_up(self) -> None:
        if self.agent is not None:
            self.agent.terminate()
            await asyncio.to_thread(self.agent.wait)


class ListeningHarness(RemoteHarness):
    """The agent listens on a socket; the service dials."""

    def again(self) -> None:
        self.start("--listen", str(self.address))

    def member(self) -> Member:
        self.address = self.folder / "agent.sock"
        if self.agent is None:
            self.again()
        return RemoteMember()

    def options(self) -> dict[str, Any]:
        return {"address": str(self.folder / "agent.sock"), "inner": "local", "wait": 30, "outage": 5}


class DiallingHarness(RemoteHarness):
    """The agent dials; the service listens on a socket of its own."""

    acceptor: Acceptor | None = None

    def again(self) -> None:
        self.start("--connect", str(self.folder / "service.sock"), "--run", self.run, "--name", "m")

    def member(self) -> Member:
        if self.acceptor is None:
            self.server = aio.server(options=options())
            self.acceptor = Acceptor()
            rpc.add_MembersServicer_to_server(self.acceptor, self.server)
            bind(self.server, str(self.folder / "service.sock"), Security())
            self.serving = asyncio.ensure_future(self.server.start())
            self.again()
        return RemoteMember(self.acceptor)

    def options(self) -> dict[str, Any]:
        return {"inner": "local", "wait": 30, "outage": 5}

    async def clean_up(self) -> None:
        await super().clean_up()
        if self.acceptor is not None:
            await self.acceptor.close()
            await self.server.stop(0)
