"""Finding out what a member has, and what the engine must make of the difference."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from ensemble.engine import Submission
from ensemble.members.contract import InventoryItem
from ensemble.model.events import Event, JobEvent, MemberEvent
from ensemble.model.jobs import FINISHED, UNDER_WAY
from ensemble.runtime.validation import validated

if TYPE_CHECKING:
    from ensemble.runtime.link import Link

EVENTS: Final = 1000
"""Events handed to the engine in one go."""


async def take_inventory(link: Link, capabilities: frozenset[str]) -> None:
    """Ask the member for all it has and tell the engine.

    What it does not have although it had accepted it, is `unsent` where no ref ever executes twice (`exactly-once`: it
    goes again under the same attempt) and `gone` where absence is proof. What was never accepted for certain is
    `unsent`. What is still on its way there is neither. Raises what the member raises.
    """
    found: dict[tuple[str, int], Event | None] = {}
    complete, text = False, ""
    async for page in link.member.inventory():
        for item in page.items:
            found[item.ref.key, item.ref.attempt] = _event(item, link.name)
        if page.last:
            complete, text = page.complete, page.text
    # answers that have come in must count before it is asked which submissions are still without one
    await link.loop.settled()
    open_refs = link.loop.engine.view.open_refs(link.name)
    events = [event for event in map(found.get, open_refs) if event is not None]
    for place in range(0, len(events), EVENTS):
        link.loop.post(*events[place : place + EVENTS])
    doubtful = {ref for ref in link.doubtful if ref not in found}
    unsent: list[tuple[str, int]] = []
    gone: list[tuple[str, int]] = []
    if complete:
        on_the_way = _on_the_way(link)
        for ref in open_refs:
            if ref in found or ref in on_the_way:
                continue
            if ref in doubtful or "exactly-once" in capabilities:
                unsent.append(ref)
            elif "absence-is-proof" in capabilities:
                gone.append(ref)
    link.doubtful = set() if complete else doubtful
    link.loop.post(MemberEvent(link.name, "inventory", time.time(), gone=tuple(gone), unsent=tuple(unsent), text=text))


def _event(item: InventoryItem, member: str) -> Event | None:
    """What the engine must know of an item."""
    key, attempt = item.ref.key, item.ref.attempt
    if item.event is not None:
        return validated(msgspec.structs.replace(item.event, key=key, attempt=attempt, n=0), member)
    if item.state == FINISHED:
        # it is over and nobody can say how
        return JobEvent(member, key, FINISHED, time.time(), attempt=attempt, outcome="lost", reason="infrastructure")
    if item.state in UNDER_WAY:
        return JobEvent(member, key, item.state, time.time(), attempt=attempt, native_id=item.native_id)
    return None


def _on_the_way(link: Link) -> set[tuple[str, int]]:
    """What is still to be sent, or sent again: neither there nor missing."""
    return {
        ref
        for command in link.loop.engine.open_commands(link.name)
        if isinstance(command, Submission)
        for ref in command.refs()
    }
