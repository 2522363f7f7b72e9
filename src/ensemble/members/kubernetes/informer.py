"""An informer: what there is of one kind of object in one namespace, kept up to date by a watch.

It lists once, watches from the version of that list, and goes on from the last version it saw (an object's or a
bookmark's) when a watch ends or is cut. After 410 it lists again, and what is gone meanwhile counts as deleted. Nothing
is polled. All runs of a process share one informer for each kind and namespace.
"""

from __future__ import annotations

__all__ = ["Informer", "Informers", "Listener"]

import asyncio
import contextlib
import random
import time
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from ensemble.members.kubernetes.api import Api, Gone
from ensemble.members.kubernetes.objects import Listed, Resource
from ensemble.model.errors import MemberError

T = TypeVar("T", bound=Listed)
T_contra = TypeVar("T_contra", bound=Listed, contravariant=True)

SILENT: Final = 10.0
"""Seconds for which the server may be away before listeners are told."""
_PAUSES: Final = (0.1, 5.0)
"""Seconds between two attempts to watch: from the first, doubled up to the second."""


class Listener(Protocol[T_contra]):
    """Who wants to know of changes. Calls must not block and must not raise."""

    def changed(self, found: T_contra, deleted: bool) -> None:
        """An object is new, was changed, or is gone."""
        ...

    def lost(self, why: str) -> None:
        """The server has been away for a while; what is known may be old."""
        ...


class Informer(Generic[T]):
    """All objects of one kind in one namespace that the selectors choose. It closes the API when it ends."""

    def __init__(self, api: Api, resource: Resource[T], labels: str = "", fields: str = "") -> None:
        self.objects: dict[str, T] = {}
        """By name."""
        self.listings = 0
        """How often everything was listed."""
        self._api, self._resource, self._labels, self._fields = api, resource, labels, fields
        self._listeners: list[Listener[T]] = []
        self._version = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """List what there is, then watch. Raises `MemberError` where it cannot be listed."""
        await self._list()
        self._task = asyncio.create_task(self._follow(), name=f"informer of {self._resource.plural}")

    async def stop(self) -> None:
        """End the watch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._api.close()

    def add(self, listener: Listener[T]) -> None:
        """Tell `listener` of every change from now on."""
        self._listeners.append(listener)

    def remove(self, listener: Listener[T]) -> None:
        """Tell `listener` no more."""
        with contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def _put(self, found: T, deleted: bool) -> None:
        if deleted:
            self.objects.pop(found.metadata.name, None)
        else:
            self.objects[found.metadata.name] = found
        for listener in tuple(self._listeners):
            listener.changed(found, deleted)

    async def _list(self) -> None:
        found, self._version = await self._api.list_all(self._resource, self._labels, self._fields)
        self.listings += 1
        there = {one.metadata.name: one for one in found}
        for name, known in tuple(self.objects.items()):
            if name not in there or there[name].metadata.uid != known.metadata.uid:
                self._put(known, True)
        for name, one in there.items():
            before = self.objects.get(name)
            if before is None or before.metadata.resourceVersion != one.metadata.resourceVersion:
                self._put(one, False)

    async def _follow(self) -> None:
        pause, away_since, told = _PAUSES[0], 0.0, False
        while True:
            try:
                if not self._version:
                    await self._list()
                    pause, away_since, told = _PAUSES[0], 0.0, False
                async for kind, found, version in self._api.watch(
                    self._resource, self._version, self._labels, self._fields
                ):
                    pause, away_since, told = _PAUSES[0], 0.0, False
                    self._version = version
                    if found is not None:
                        self._put(found, kind == "DELETED")
                # the server ended it in its own time
                away_since = 0.0
                continue
            except Gone:
                self._version = ""
                continue
            except MemberError as error:
                now = time.monotonic()
                away_since = away_since or now
                if not told and (now - away_since >= SILENT or not error.transient):
                    told = True
                    for listener in tuple(self._listeners):
                        listener.lost(str(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _PAUSES[1])


class Informers:
    """The informers of one event loop, shared by all that ask for the same one; it ends with the last of them."""

    _loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Informers]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._shared: dict[tuple[Any, ...], tuple[Informer[Any], asyncio.Future[None], list[object]]] = {}

    @classmethod
    def here(cls) -> Informers:
        """Those of the running loop."""
        return cls._loops.setdefault(asyncio.get_running_loop(), cls())

    async def acquire(
        self, api: Api, resource: Resource[T], listener: Listener[T], labels: str = "", fields: str = ""
    ) -> Informer[T]:
        """The informer of a kind, started, with `listener` among those that it tells. Raises `MemberError`."""
        key = (*api.identity, resource.full_name, labels, fields)
        if key not in self._shared:
            fresh: Informer[T] = Informer(api.another(), resource, labels, fields)
            self._shared[key] = (fresh, asyncio.ensure_future(fresh.start()), [])
        informer, started, users = self._shared[key]
        users.append(listener)
        try:
            await asyncio.shield(started)
        except BaseException:
            users.remove(listener)
            if not users and self._shared.pop(key, None) is not None:
                started.cancel()
                await informer.stop()
            raise
        informer.add(listener)
        return informer

    async def release(self, informer: Informer[T], listener: Listener[T]) -> None:
        """Tell `listener` no more, and end the informer where nobody else listens."""
        informer.remove(listener)
        for key, (shared, _, users) in tuple(self._shared.items()):
            if shared is informer and listener in users:
                users.remove(listener)
                if not users:
                    del self._shared[key]
                    await informer.stop()
