"""The Flux member inside a MiniCluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar, Final

import msgspec

from ensemble.members.contract import Accepted, Context, Hello, Observation, Receipt, Refused
from ensemble.members.flux import calls
from ensemble.members.flux.member import FluxMember
from ensemble.members.flux.sizes import Sizes, allocated_ranks, read_ranks
from ensemble.members.flux.watching import observe
from ensemble.members.kit.options import is_yes
from ensemble.members.minicluster.view import broker_environment, enter, never_here, socket_of, views
from ensemble.model.errors import MemberError, MemberUnavailable
from ensemble.model.events import MemberEvent

WAIT_SECONDS: Final = 120.0
SILENT_SECONDS: Final = 5.0
"""How long the first opening waits for the broker before it says that there is none yet; later ones wait on."""
_LOOK: Final = 0.25
_LOOK_AGAIN: Final = 1.0
LEAVING: Final = "ensemble: its pod is about to go"
"""The reason for which brokers are drained before a MiniCluster shrinks."""


class MiniClusterMember(FluxMember):
    """A Flux queue inside pods. It differs from the Flux member in where the broker is found and in how it is resized.

    Options: `view`, where the Flux view is mounted; `wait`, seconds that the broker may take to come up
    (`WAIT_SECONDS`); `resize_timeout`, seconds until a resize has failed; `shared`, whether all pods see the run's
    files (yes); and those of the Flux member.
    """

    fixed_size: ClassVar = False

    @staticmethod
    async def observe(found: Callable[[Observation | None], None]) -> None:
        """Watch the queue of this pod, as soon as its broker is up. See `contract.Observe`."""

        def where() -> str:
            enter()
            if uri := socket_of():
                return uri
            raise MemberError("no broker has come up in this pod")

        await observe(found, where)

    def __init__(self) -> None:
        super().__init__()
        self._silent = True
        """Nobody has been told yet that there is no broker."""
        self._wanted: int | None = None
        """The size that it is on its way to."""
        self._asked = False
        """That size was asked for: no job runs any more where it will have no nodes."""

    async def open(self, context: Context) -> Hello:
        """Wait for the broker's socket, then as the Flux member.

        Raises `MemberError(transient=True)` without one, and `MemberUnavailable` where none can come.
        """
        options = dict(context.options)
        view, wait = str(options.pop("view", "")), _seconds(options.pop("wait", WAIT_SECONDS))
        options.pop("resize_timeout", None)  # the runtime's
        self._shared = is_yes(options.pop("shared", "yes"))
        enter(view)
        if "uri" not in options and (why := never_here(view)):
            raise MemberUnavailable(why)
        silent, self._silent = self._silent, False
        patience = 0.0 if "uri" in options else min(wait, SILENT_SECONDS) if silent else wait
        until = time.monotonic() + patience
        while True:
            try:
                uri = str(options.get("uri") or await _broker(view, until))
                self._environment = await broker_environment(uri)
                hello = await super().open(msgspec.structs.replace(context, options={**options, "uri": uri}))
                if hello.nodes_up or time.monotonic() >= until:
                    break
            except MemberError as error:
                # its socket is there before its scheduler is, and that before the first node is up
                if not error.transient or time.monotonic() >= until:
                    raise
            await asyncio.sleep(_LOOK)
        return msgspec.structs.replace(hello, capabilities=hello.capabilities | {"resize"})

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Ask, through the session, for another `spec.size`; nodes come and go as events.

        The operator takes the highest ranks away without a word to them, so these are drained first, and the smaller
        size is asked for when no job runs there any more. Refused outside the member's bounds, and above what the
        MiniCluster's `maxSize` lets its brokers know of.
        """
        assert self._context is not None
        self._up()
        known = self.nodes_known
        least, most = max(1, self._context.min_nodes), min(self._context.max_nodes or known, known)
        if not least <= nodes <= most:
            return Refused(f"this MiniCluster can have {least} to {most} nodes, not {nodes}")
        await self._drain_from(nodes)
        self._wanted, self._asked = nodes, False
        self._dirty.set()
        return Accepted()

    async def _drain_from(self, nodes: int) -> None:
        """Let the brokers from rank `nodes` on take no more jobs, and those before it that we drained take them."""
        ranks = read_ranks(await self._up().call(calls.ranks()))
        leaving = [rank for rank in ranks.online if rank >= nodes and rank not in ranks.drained]
        staying = [rank for rank, reason in ranks.drained.items() if rank < nodes and reason == LEAVING]
        if leaving:
            await self._up().call(calls.drain(leaving, LEAVING))
        if staying:
            await self._up().call(calls.undrain(staying))

    async def _look(self) -> Sizes:
        sizes = await super()._look()
        if self._wanted is None:
            return sizes
        ranks = read_ranks(await self._up().call(calls.ranks()))
        drained = [rank for rank, reason in ranks.drained.items() if reason == LEAVING]
        held = [rank for rank in drained if rank in ranks.online]
        busy = held and allocated_ranks(await self._up().call(calls.sizes())) & set(held)
        if busy:
            # the scheduler may learn of a job's end a moment after the journal
            asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._dirty.set)
        elif not self._asked:
            self._asked = True
            assert self._context is not None
            self._outbox.put(MemberEvent(self._context.name, "resize", time.time(), nodes_wanted=self._wanted))
        elif not held:
            # they are gone: whoever comes in their place, by whatever hand, is to have jobs
            self._wanted = None
            if drained:
                await self._up().call(calls.undrain(drained))
        # a node that is only drained is still held, and paid for
        return sizes._replace(
            nodes_up=sizes.nodes_up + len(held), cores_up=sizes.cores_up + len(held) * sizes.cores_per_node
        )


def _seconds(given: object) -> float:
    try:
        found = float(str(given))
    except ValueError:
        found = -1.0
    if not found >= 0:
        raise MemberError(f"option `wait` of a MiniCluster is a number of seconds, not {given!r}")
    return found


async def _broker(view: str, until: float) -> str:
    """The address of the broker. Raises `MemberError` when there is none at the time `until`."""
    while not (found := socket_of(view)):
        if time.monotonic() >= until:
            below = " or ".join(views(view))
            raise MemberError(f"no Flux broker has come up in this pod: no socket below {below}", transient=True)
        await asyncio.sleep(_LOOK)
    return found
