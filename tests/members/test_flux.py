"""The Flux member keeps the contract, in a real Flux."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ensemble.members.contract import Member
from ensemble.members.flux import FluxMember
from ensemble.testing import MemberConformance, MemberHarness
from tests.flux.instance import leave, missing, session


class FluxHarness(MemberHarness):
    patience = 60.0
    burst = 100

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.uri = session().uri

    @classmethod
    def missing(cls) -> str:
        return missing()

    def member(self) -> Member:
        return FluxMember()

    def options(self) -> dict[str, Any]:
        return {"uri": self.uri}

    async def cancel_outside(self, native_id: str) -> None:
        await asyncio.to_thread(session().run, "cancel", native_id)

    async def clean_up(self) -> None:
        await asyncio.to_thread(leave)


class TestFlux(MemberConformance):
    harness_type = FluxHarness
