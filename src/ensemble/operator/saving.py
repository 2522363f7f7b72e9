"""Saving a run from its service pod, once it is over: pushed, read back, and told as conditions of the Ensemble."""

from __future__ import annotations

__all__ = ["Saver"]

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ensemble.artifacts import packing, saving
from ensemble.model.errors import EnsembleError
from ensemble.operator.resource import ArtifactsSpec
from ensemble.operator.status import Condition
from ensemble.runs.local import LocalRun
from ensemble.service.host import Hosted
from ensemble.service.logs import Log

WAITS: Final = (2.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds before another try; the last one for all that follow."""


class Saved(Struct, frozen=True):
    """What is noted beside the journal: for what the run was saved, and where it is."""

    wanted: ArtifactsSpec
    artifact: str


class Saver:
    """Saves a run where its Ensemble says, tries again until that has worked, and knows how far it is."""

    def __init__(self, hosted: Hosted, state: Path, log: Log) -> None:
        self._hosted, self._log = hosted, log
        self._file = state / "saved.json"
        self._wanted = ArtifactsSpec()
        self._changed = asyncio.Event()
        self._saved: Saved | None = None
        self._pushed = self._trouble = ""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._saved = msgspec.json.decode(self._file.read_bytes(), type=Saved)
            # until the object is seen, so that what was said before is said again
            self._wanted = self._saved.wanted

    def want(self, wanted: ArtifactsSpec) -> None:
        """Told whenever the Ensemble has changed."""
        if wanted != self._wanted:
            self._wanted, self._pushed, self._trouble = wanted, "", ""
            self._changed.set()

    @property
    def artifact(self) -> str:
        """Where the run is, once that is verified."""
        return self._saved.artifact if self._saved is not None and self._saved.wanted == self._wanted else ""

    def conditions(self) -> list[Condition]:
        """How far it is; nothing where nothing is wanted."""
        if not self._wanted.push:
            return []
        if self.artifact:
            return [
                Condition("Pushed", True, "Pushed", self.artifact),
                Condition("Verified", True, "Verified", "what was read back is what was pushed"),
            ]
        if self._pushed:
            reason = "VerificationFailed" if self._trouble else "Verifying"
            return [
                Condition("Pushed", True, "Pushed", self._pushed),
                Condition("Verified", False, reason, self._trouble),
            ]
        reason = "PushFailed" if self._trouble else "NotYet"
        return [Condition("Pushed", False, reason, self._trouble), Condition("Verified", False, "NotPushed")]

    async def run(self) -> None:
        """Until cancelled."""
        tries = 0
        while True:
            self._changed.clear()
            wanted = self._wanted
            if not wanted.push or self.artifact or not await self._over():
                await self._news()
                continue
            try:
                artifact = await asyncio.to_thread(self._save, wanted, asyncio.get_running_loop())
            except Exception as error:  # the run goes on being served, whatever a registry answers
                self._trouble = str(error) if isinstance(error, EnsembleError) else f"internal error: {error!r}"
                self._log("save-failed", self._trouble)
                self._hosted.wake()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WAITS[min(tries, len(WAITS) - 1)]):
                        await self._changed.wait()
                tries += 1
                continue
            tries, self._saved = 0, Saved(wanted, artifact)
            with contextlib.suppress(OSError):
                self._file.write_bytes(msgspec.json.encode(self._saved))
            self._log("saved", artifact)
            self._hosted.wake()

    async def _over(self) -> bool:
        """Whether the run is over, and this process has left it."""
        status = await self._hosted.status(points=False)
        return status is not None and status.state == "over" and not self._hosted.busy

    async def _news(self) -> None:
        """Wait until the run or what is wanted of it has changed."""
        waiting = [asyncio.create_task(one) for one in (self._hosted.changed(), self._changed.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    def _save(self, wanted: ArtifactsSpec, loop: asyncio.AbstractEventLoop) -> str:
        """On a thread of its own: push, then read back and compare."""
        with packing.pack(LocalRun(self._hosted.run_dir)) as package:
            pushed = saving.push(package, wanted.push, wanted.attach, plain_http=wanted.plain_http)
            loop.call_soon_threadsafe(self._told, wanted, str(pushed.reference))
            saving.verify(package, pushed, plain_http=wanted.plain_http)
            if wanted.clean:
                package.refuse_to_lose(self._hosted.run_dir.name)
            return str(pushed.reference)

    def _told(self, wanted: ArtifactsSpec, reference: str) -> None:
        if wanted == self._wanted:
            self._pushed, self._trouble = reference, ""
            self._hosted.wake()
