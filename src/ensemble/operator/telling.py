"""Kubernetes Events for what happens in a run: one for each firing of a rule, with its reason."""

from __future__ import annotations

__all__ = ["Teller", "notices"]

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from ensemble.journal.following import Follower
from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.members.kubernetes.objects import EVENTS
from ensemble.model.decisions import End, Firing, Record
from ensemble.model.errors import EnsembleError, MemberError
from ensemble.model.events import MemberEvent, RunResumed, RunStarted
from ensemble.operator.naming import Identity
from ensemble.operator.resource import GROUP, KIND, VERSION
from ensemble.operator.status import stamp
from ensemble.report.describe import consequences, values
from ensemble.service.host import Hosted

MOST_TEXT: Final = 1024
"""Characters that the API takes as the message of an event."""

BATCH: Final = 50
"""Events after which it is noted how far the telling has come."""


class Notice(NamedTuple):
    """One Kubernetes Event."""

    number: int
    reason: str
    text: str
    warning: bool = False


def notices(record: Record) -> Iterator[Notice]:
    """What of a record is worth an Event, numbered within the record."""
    event, number = record.event, 0
    if isinstance(event, RunStarted):
        yield Notice(number, "Started", f"run {event.run} began")
    elif isinstance(event, RunResumed):
        yield Notice(number, "Resumed", f"the run goes on after its process had ended (writer {event.epoch})")
    elif isinstance(event, MemberEvent) and event.name in ("down", "gone", "fault"):
        yield Notice(number, f"Member{event.name.capitalize()}", f"member {event.member}: {event.text}", True)
    elif isinstance(event, MemberEvent) and event.name == "up":
        yield Notice(number, "MemberUp", f"member {event.member} can be reached again")
    for step in record.steps:
        if isinstance(step, Firing):
            number += 1
            why = f" because {values(step.why)}" if step.why else ""
            then = consequences(step.effects)
            yield Notice(number, "RuleFired", f"{step.rule} fired{why}" + (f": {then}" if then else ""))
        for effect in getattr(step, "effects", (step,)):
            if isinstance(effect, End):
                number += 1
                failed = effect.outcome in ("failed", "limit")
                yield Notice(
                    number,
                    "Failed" if failed else "Completed",
                    f"{effect.outcome}: {effect.reason}".rstrip(": "),
                    failed,
                )


class Teller:
    """Posts what is new in the journal, once each, also after a restart: the names of the Events are deterministic."""

    def __init__(self, api: Api, identity: Identity, hosted: Hosted, state: Path) -> None:
        self._api, self._identity, self._hosted = api, identity, hosted
        self._file = state / "told"
        self._told = 0
        with contextlib.suppress(OSError, ValueError):
            self._told = int(self._file.read_text())
        self._follower = Follower(hosted.run_dir, self._told)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            hosted = self._hosted
            upto = hosted.loop.journal.durable if hosted.loop is not None and hosted.busy else None
            if (hosted.run_dir / "journal").is_dir() and not (hosted.busy and upto is None):
                with contextlib.suppress(EnsembleError):
                    await self._tell(upto)
            await hosted.changed()

    async def _tell(self, upto: int | None) -> None:
        since = 0
        for record in self._follower.new(upto):
            for notice in notices(record):
                await self._post(record, notice)
                since += 1
            self._told = record.seq
            if since >= BATCH:
                since = 0
                self._note()
        self._note()

    def _note(self) -> None:
        with contextlib.suppress(OSError):
            self._file.write_text(str(self._told))

    async def _post(self, record: Record, notice: Notice) -> None:
        while True:
            try:
                await self._api.create(EVENTS, self._manifest(record, notice))
                return
            except ApiError as error:
                if not error.transient:
                    # told already, or the namespace takes no more of them
                    return
            except MemberError:
                pass
            await asyncio.sleep(1.0)

    def _manifest(self, record: Record, notice: Notice) -> dict[str, Any]:
        identity, at = self._identity, stamp(record.at)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{identity.name}.{identity.uid[:8]}.{record.seq}.{notice.number}",
                "namespace": identity.namespace,
            },
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": identity.name,
                "namespace": identity.namespace,
                "uid": identity.uid,
            },
            "reason": notice.reason,
            "message": notice.text[:MOST_TEXT],
            "type": "Warning" if notice.warning else "Normal",
            "source": {"component": "ensemble"},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
