"""The harnesses of the members that come with the package."""

from __future__ import annotations

import os
import signal
from typing import Any

from ensemble.members.contract import Member
from ensemble.members.local import LocalMember
from ensemble.model.jobs import JobSpec
from ensemble.simulation import SimulatedMember
from ensemble.testing import Do, MemberHarness


class LocalHarness(MemberHarness):
    def member(self) -> Member:
        return LocalMember()

    async def kill(self) -> None:
        _, _, pid = (self.folder / "keeper" / "m.socket").read_text().split()
        os.kill(int(pid), signal.SIGKILL)


class SimulatedHarness(MemberHarness):
    """Real time, one virtual second a second, so that a job can be met while it runs."""

    real = False

    def member(self) -> Member:
        return SimulatedMember()

    def job(self, key: str, do: Do | None = None, *, attempt: int = 1, **fields: Any) -> JobSpec:
        do = do or Do()
        model: dict[str, Any] = {"duration": do.seconds}
        if do.exit_code or do.signal:
            model |= {"failure_rate": {"signal" if do.signal else "exit": 1.0}, "failure_after": do.seconds}
            model |= {"exit_code": do.exit_code} if do.exit_code else {}
        return super().job(key, do, attempt=attempt, **{"duration": model, **fields})
