"""The MiniCluster member: it makes a MiniCluster whose sidecar is the agent of its Flux queue, and resizes it.

The jobs go through the agent (`members.minicluster` beside the broker, `members.remote` here). What is done here is
what only the API server can do: to make and remove the MiniCluster, to change its size, and to say what its pods wait
for.
"""

from __future__ import annotations

__all__ = ["MiniClusterMember"]

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from ensemble.members.contract import CloseMode, Context, Hello, Page, Receipt, Refused
from ensemble.members.flux.jobspec import LAUNCHERS, OPTIONS
from ensemble.members.kit.fetching import fetch_file
from ensemble.members.kit.files import write_durably
from ensemble.members.kit.work import Work, retry
from ensemble.members.kubernetes.api import Api, ApiError, connect
from ensemble.members.kubernetes.informer import Informer, Informers
from ensemble.members.kubernetes.minicluster_objects import (
    AGENT,
    MINICLUSTERS,
    SECRETS,
    MiniCluster,
    MiniClusterOptions,
    Secret,
    agent_command,
    main_container,
    manifest,
    secret,
    secret_name,
)
from ensemble.members.kubernetes.names import PREFIX, Identity, object_name, shortened
from ensemble.members.kubernetes.objects import PODS, Listed, Pod, Resource
from ensemble.members.kubernetes.provisioning import Pods, announce, read_state, withdraw
from ensemble.members.kubernetes.relay import Logs, Relay
from ensemble.members.remote import RemoteMember
from ensemble.model.errors import MemberError
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import AttemptRef, JobSpec

T = TypeVar("T", bound=Listed)

QUIET_SECONDS: Final = 5.0
"""How long the first opening waits for the queue before it says what it waits for; later ones wait on."""
_ASK_AGAIN: Final = 2.0
_ORPHANED: Final = "no controller has made its pods (is the Flux Operator installed, and does it accept the sizes?)"


class MiniClusterMember:
    """A Flux queue in pods that the member makes. See `members.contract.Member` for what each call promises.

    Options: those of `MiniClusterOptions`, and of a Flux member.
    """

    # what this kind of member can do: `members.contract.Member`
    group_options: ClassVar = OPTIONS
    launchers: ClassVar = LAUNCHERS
    fixed_size: ClassVar = False

    def __init__(self, quiet: float = QUIET_SECONDS) -> None:
        """`quiet`: seconds until the first opening says what it waits for."""
        self._quiet = quiet
        self.name = ""
        """The name of the MiniCluster; empty before the first opening."""
        self._context: Context | None = None
        self._options = MiniClusterOptions()
        self._api: Api | None = None
        self._remote: RemoteMember | None = None
        self._work = Work("", self._failed)
        self._informers: list[Informer[Any]] = []
        self._pods: Mapping[str, Pod] = {}
        self._clusters: Mapping[str, MiniCluster] = {}
        self._news = asyncio.Event()
        self._relay: Relay
        self._logs: Logs | None = None
        self._address = ""
        """Of the pod whose agent we are connected to."""
        self._told = False
        """Somebody was told already that the queue is not up, and what it waits for."""
        self._announced: set[int] = set()
        """Sizes that an autoscaler was asked to make room for."""
        self._target = 0
        """The size that it is on its way to; 0: none."""
        self._asked = 0
        """The size that the agent has asked for last."""
        self._deadline = 0.0
        """When it is to be there (our monotonic clock)."""

    # ---- opening and closing -------------------------------------------------------------------------

    async def open(self, context: Context) -> Hello:
        """Make the MiniCluster unless it is there, wait for its first pod and connect to the agent in it.

        Raises `MemberUnavailable` where there is no cluster, `MemberError` for bad options, and with what its pods wait
        for when they do not run: once soon (`transient`), and after `start_timeout`.
        """
        await self._halt()
        self._options = MiniClusterOptions.read(context.options, OPTIONS)
        self._context, self._news = context, asyncio.Event()
        self._target = 0
        self._relay = Relay(context.name, context.sink)
        self._work = Work(context.name, self._failed)
        self._api = connect(self._options.kubeconfig, self._options.context, self._options.namespace)
        try:
            hello = await self._connect(context, self._api)
        except BaseException:
            await self._halt()
            raise
        self._work.start(self._follow())
        # what was released is written down in the first pod, and goes with it, unless its disk outlives it
        lost = frozenset() if self._options.shared else frozenset({"exactly-once"})
        return msgspec.structs.replace(
            hello,
            stream=f"{context.name}@{context.epoch}-{token_hex(4)}",
            capabilities=(hello.capabilities | {"resize"}) - lost,
        )

    async def _connect(self, context: Context, api: Api) -> Hello:
        options = self._options
        folder = Path(context.run_dir) / "minicluster" / context.name
        self.name = options.name or await asyncio.to_thread(_own_name, folder, context, options.identity)
        self._clusters = await self._informed(api, MINICLUSTERS, fields=f"metadata.name={self.name}")
        self._pods = await self._informed(api, PODS, labels=f"job-name={self.name}")
        key = await self._make(context, api)
        address = await self._first_pod()
        await asyncio.to_thread(_write_keys, folder, key)
        self._remote = RemoteMember()
        self._logs = Logs(context.run, context.run_dir, self._remote.fetch)
        self._relay.ended, self._relay.asked = self._logs.keep, self._set_size
        inside = {
            "address": options.address or f"{address}:{options.port}",
            "inner": "minicluster",
            "token_file": str(folder / "token"),
            "ca": str(folder / "ca.crt"),
            "server_name": AGENT,
            "wait": options.start_timeout,
            "options": {**options.queue, "shared": "yes" if options.shared else "no"},
        }
        # its stream goes with every opening of ours: the numbers are ours
        bare = msgspec.structs.replace(context, options=inside, sink=self._relay, stream="", position=0)
        self._address = address
        return await self._open_inside(self._remote.open(bare))

    async def _open_inside(self, opening: Coroutine[Any, Any, Hello]) -> Hello:
        """Open the queue, unless its pod goes meanwhile. Raises `MemberError`."""
        task = asyncio.create_task(opening, name=f"member {self.name}")
        try:
            while not task.done():
                self._news.clear()
                if self._replaced():
                    raise MemberError(f"the first pod of MiniCluster {self.name} went before its queue was up", True)
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait((task, news), return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _replaced(self) -> bool:
        """Whether the pod that we are connected to is not the first any more."""
        return self._state().address != self._address

    async def _informed(self, api: Api, resource: Resource[T], labels: str = "", fields: str = "") -> Mapping[str, T]:
        informer: Informer[T] = await Informers.here().acquire(api, resource, self, labels, fields)
        self._informers.append(informer)
        return informer.objects

    async def _make(self, context: Context, api: Api) -> Secret:
        """Return the agent's Secret; make it, and the MiniCluster, where they are not there. Raises `MemberError`."""
        there, key = self._clusters.get(self.name), await api.get(SECRETS, secret_name(self.name))
        if self._options.attach:
            if there is None:
                raise MemberError(f"there is no MiniCluster {self.name} in namespace {api.namespace}")
            if key is None:
                raise MemberError(f"MiniCluster {self.name} has no Secret {secret_name(self.name)} for its agent")
            return key
        labels = {
            "app.kubernetes.io/managed-by": "ensemble",
            f"{PREFIX}/run": shortened(context.run),
            f"{PREFIX}/member": shortened(context.name),
        }
        key = key or await _create(api, SECRETS, secret(self.name, labels))
        if there is None:
            size, least, most = _sizes(context)
            body = manifest(
                self.name, labels, self._options, size=size, least=least, most=most,
                agent=agent_command(context.run, context.name, context.run_dir, self._options),
            )  # fmt: skip
            await self._announce(api, size, size)
            there = await _create(api, MINICLUSTERS, body)
        owner = {
            "apiVersion": MINICLUSTERS.api_version, "kind": MINICLUSTERS.kind, "name": self.name,
            "uid": there.metadata.uid,
        }  # fmt: skip
        await api.patch(SECRETS, secret_name(self.name), {"metadata": {"ownerReferences": [owner]}})
        return key

    async def _announce(self, api: Api, size: int, pods: int) -> None:
        """Tell an autoscaler of the pods that are lacking at a size, where that is wanted."""
        pool = self._options.node_pool
        if not pool.provisioning:
            return
        if size in self._announced:
            # a request is used once
            await withdraw(api, self.name, [size])
        if await announce(api, self.name, pool, main_container(self._options), size, pods):
            self._announced.add(size)

    async def _first_pod(self) -> str:
        """The address of the pod with the agent, once that runs. Raises `MemberError` with what it waits for."""
        first, self._told = not self._told, True
        until = time.monotonic() + (self._quiet if first else self._options.start_timeout)
        while True:
            self._news.clear()
            state = self._state()
            if state.address:
                return state.address
            left = until - time.monotonic()
            if left <= 0:
                text = f"MiniCluster {self.name} is not up: {state.waiting or _ORPHANED}"
                raise MemberError(text, transient=first)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    async def _halt(self) -> None:
        await self._work.stop()
        remote, self._remote = self._remote, None
        if remote is not None:
            with contextlib.suppress(MemberError):
                await remote.close("detach")
        if self._logs is not None:
            self._logs.stop()
        informers, self._informers = self._informers, []
        for informer in informers:
            await Informers.here().release(informer, self)
        api, self._api = self._api, None
        if api is not None:
            await api.close()

    async def close(self, mode: CloseMode) -> None:
        """With `detach` the MiniCluster stays, with its jobs; else it is removed when they have ended."""
        try:
            if self._remote is not None and self._logs is not None and mode != "detach" and not self._relay.down:
                # what the jobs have written can be fetched only while the queue is open
                await self._end_jobs(self._remote, mode)
                await self._logs.kept()
                await self._remote.close("drain")
                self._remote = None
            if self.name and mode != "detach" and not self._options.attach:
                await self._remove()
        finally:
            await self._halt()

    async def _remove(self) -> None:
        """Remove the MiniCluster, also one whose pods never ran: they would ask for nodes for ever."""
        api = self._api or connect(self._options.kubeconfig, self._options.context, self._options.namespace)
        self._api = api
        await withdraw(api, self.name, self._announced)
        await api.delete(MINICLUSTERS, self.name)
        await api.delete(SECRETS, secret_name(self.name))

    async def _end_jobs(self, remote: RemoteMember, mode: CloseMode) -> None:
        left = {item.ref async for page in self.inventory() for item in page.items if item.event is None}
        if mode == "cancel" and left:
            await remote.cancel(sorted(left, key=str), 1.0)
        await self._relay.over({(ref.key, ref.attempt) for ref in left})

    # ---- commands ------------------------------------------------------------------------------------

    def _inside(self) -> RemoteMember:
        if self._remote is None or self._relay.down:
            why = self._relay.down if self._remote is not None else "the MiniCluster member is not open"
            raise MemberError(why, transient=True)
        return self._remote

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Hand jobs over to the queue."""
        return await self._inside().submit(batch, jobs)

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """End jobs."""
        return await self._inside().cancel(refs, grace)

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that the queue knows."""
        async for page in self._inside().inventory():
            for item in page.items:
                if item.event is not None and self._logs is not None:
                    # its end may have come to an engine that is gone
                    self._logs.keep(item.event)
            yield page

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Read part of a job's file: in its pod, or as it was kept at its end."""
        assert self._context is not None
        if self._logs is not None and path in ("stdout", "stderr") and self._logs.has(ref, path):
            return await fetch_file(self._context.run_dir, ref, path, offset, limit)
        return await self._inside().fetch(ref, path, offset, limit)

    # ---- sizes ---------------------------------------------------------------------------------------

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Bring it to so many nodes: the brokers that go are drained first, and what no node came for is given back."""
        assert self._context is not None
        assert self._api is not None
        inside, cluster = self._inside(), self._clusters.get(self.name)
        if cluster is None:
            return Refused(f"MiniCluster {self.name} is gone")
        least, most = max(1, cluster.spec.minSize, self._context.min_nodes), cluster.most
        if self._context.max_nodes and self._context.max_nodes < most:
            most = self._context.max_nodes
        if nodes > cluster.most:
            why = "the operator fixes the most that its brokers know of when it is made (`nodes: {max}`)"
            return Refused(f"MiniCluster {self.name} can have {cluster.most} nodes at most, not {nodes}: {why}")
        if not least <= nodes <= most:
            return Refused(f"MiniCluster {self.name} can have {least} to {most} nodes, not {nodes}")
        receipt = await inside.resize(command, nodes)
        if not isinstance(receipt, Refused):
            self._target, self._deadline = nodes, time.monotonic() + self._options.resize_timeout
            self._news.set()
        return receipt

    def _set_size(self, nodes: int) -> None:
        """The agent asks for a size: no job runs any more on what goes."""
        self._asked = nodes
        self._work.start(self._patch_size(nodes))

    async def _patch_size(self, nodes: int) -> None:
        assert self._context is not None

        async def patch() -> None:
            # another size may have been asked for meanwhile
            cluster = self._clusters.get(self.name)
            if nodes == self._asked and self._api is not None and cluster is not None:
                await self._announce(self._api, nodes, nodes - cluster.spec.size)
                await self._api.patch(MINICLUSTERS, self.name, {"spec": {"size": nodes}})

        try:
            # the queue does not need the API server, and goes on while that is away
            await retry(patch, self._options.resize_timeout, _ASK_AGAIN)
        except MemberError as error:
            await self._relay.tell(MemberEvent(self._context.name, "resize-failed", time.time(), text=str(error)))

    def _state(self) -> Pods:
        cluster = self._clusters.get(self.name)
        return read_state(list(self._pods.values()), cluster.spec.size if cluster is not None else 0)

    async def _follow(self) -> None:
        """Say what is on its way, and give up what does not come in time."""
        assert self._context is not None
        told = ""
        while True:
            self._news.clear()
            state = self._state()
            if self._replaced():
                self._failed(MemberError(f"the first pod of MiniCluster {self.name} is gone, and its queue with it"))
                return
            if state.text != told:
                told = self._relay.text = state.text
                if told:
                    await self._relay.tell(MemberEvent(self._context.name, "provisioning", time.time(), text=told))
            if self._target and state.there >= self._target:
                self._target = 0
            left = self._deadline - time.monotonic() if self._target and self._target > state.there else None
            if left is not None and left <= 0:
                await self._give_back(state)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    async def _give_back(self, state: Pods) -> None:
        """Nodes have not come in time: stay at what is there."""
        assert self._context is not None
        wanted, self._target, there = self._target, 0, state.there
        seconds = f"{self._options.resize_timeout:g} s"
        text = f"{there} of {wanted} nodes are there after {seconds}: {state.waiting or 'its pods do not run'}"
        await self._relay.tell(MemberEvent(self._context.name, "resize-failed", time.time(), text=text))
        cluster = self._clusters.get(self.name)
        least = max(1, self._context.min_nodes, cluster.spec.minSize if cluster is not None else 0)
        # a pod that runs behind one that does not is drained like any that goes
        with contextlib.suppress(MemberError):
            await self._inside().resize(0, max(there, least))

    # ---- what the API server says --------------------------------------------------------------------

    def changed(self, found: Listed, deleted: bool) -> None:
        """A pod or the MiniCluster has changed."""
        if deleted and isinstance(found, MiniCluster) and self._remote is not None:
            self._failed(MemberError(f"MiniCluster {self.name} was deleted"))
        self._news.set()

    def lost(self, why: str) -> None:
        """The API server is away: the queue goes on without it, at the size that it has."""

    def _failed(self, error: Exception) -> None:
        """Without a background task nothing more would be said of the queue: report it as down."""
        why = str(error) if isinstance(error, MemberError) else f"a fault in the MiniCluster member: {error!r}"
        if self._context is not None and not self._relay.down:
            self._relay.down = why
            self._work.start(self._relay.tell(MemberEvent(self._context.name, "down", time.time(), text=why)))


async def _create(api: Api, resource: Resource[T], body: Mapping[str, Any]) -> T:
    """Create an object, or read the one that an earlier call of ours has created."""
    try:
        return await api.create(resource, body)
    except ApiError as error:
        found = await api.get(resource, body["metadata"]["name"]) if error.reason == "AlreadyExists" else None
        if found is None:
            raise
        return found


def _own_name(folder: Path, context: Context, given: str) -> str:
    """The name of the run's MiniCluster: runs of one name may share a namespace. Blocks."""
    path = folder / "identity"
    if not given and not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(path, token_hex(8).encode())
    identity = Identity(context.run, given or path.read_text(), context.name)
    return object_name(identity, AttemptRef(context.run, context.name, 1))


def _write_keys(folder: Path, key: Secret) -> None:
    """Write what the agent is dialled with into the run's directory. Blocks."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("token", "ca.crt"):
        write_durably(folder / name, key.value(name))


def _sizes(context: Context) -> tuple[int, int, int]:
    """The size to begin with, the least and the most."""
    least = max(1, context.min_nodes)
    size = max(context.nodes, least)
    return size, least, max(context.max_nodes, size)
