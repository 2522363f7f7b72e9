"""The Slurm member keeps the contract, on a real Slurm."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from ensemble.members.batch.slurm import SlurmMember
from ensemble.members.contract import Member
from ensemble.testing import MemberConformance, MemberHarness
from tests.slurm.cluster import enter, leave, missing


class SlurmHarness(MemberHarness):
    patience = 60.0
    burst = 100

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        enter()

    @classmethod
    def missing(cls) -> str:
        return missing()

    def member(self) -> Member:
        return SlurmMember()

    def options(self) -> dict[str, Any]:
        return {"poll": 1.0, "settle": 0.5}

    async def cancel_outside(self, native_id: str) -> None:
        subprocess.run(["scancel", native_id], check=True)  # noqa: ASYNC221

    async def clean_up(self) -> None:
        await asyncio.to_thread(leave)


class TestSlurm(MemberConformance):
    harness_type = SlurmHarness
