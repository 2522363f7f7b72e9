"""Sees, lets `reconcile` decide, and does it. kopf owns the watches; its handlers only note what has changed.

One Ensemble is worked on by one task at a time; what changes meanwhile makes it be looked at once more.
"""

from __future__ import annotations

__all__ = ["Controller"]

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import kopf
import msgspec
import yaml

from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.members.kubernetes.objects import EVENTS, PODS, seconds_of
from ensemble.model.errors import MemberError
from ensemble.operator.conversion import Converted, ObjectError, convert, file_of
from ensemble.operator.manifests import Settings
from ensemble.operator.naming import DIGEST, ENSEMBLE, MANAGER, Identity, service_name, shortened
from ensemble.operator.objects import (
    CONTROLLERS,
    DEFINITIONS,
    DEPLOYMENTS,
    ENSEMBLES,
    Deployment,
    EnsembleObject,
    resource_of,
)
from ensemble.operator.reconcile import (
    Action,
    Apply,
    Delete,
    Mark,
    Observed,
    Remove,
    ServiceState,
    Wake,
    WriteStatus,
    reconcile,
)
from ensemble.operator.resource import GROUP, KIND, PLURAL, VERSION
from ensemble.operator.status import conditions, stamp
from ensemble.service.logs import Log

WORKERS: Final = 8
"""Ensembles that are worked on at the same time."""

KNOWN_SECONDS: Final = 20.0
"""How long it counts as known which controllers a cluster has."""

RESYNC: Final = 600.0
"""Seconds after which every Ensemble is looked at again, whatever was or was not told."""

TROUBLES: Final = (
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CrashLoopBackOff", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError",
)  # fmt: skip
"""Reasons for which a container waits that do not pass by themselves."""

Key = tuple[str, str]
"""Namespace and name."""


class Controller:
    """Keeps what the watches said, and brings each Ensemble to what it should be."""

    def __init__(self, api: Api, settings: Settings, log: Log) -> None:
        self.ensembles: dict[Key, EnsembleObject] = {}
        self.reconciled: Counter[str] = Counter()
        """Reconciliations by result."""
        self.heard = time.monotonic()
        """When a watch last said anything, or a look around succeeded."""
        self._api, self._settings, self._log = api, settings, log
        self._services: dict[Key, ServiceState] = {}
        """The Deployments, by namespace and their own name."""
        self._owners: dict[Key, Key] = {}
        """Which Ensemble a Deployment belongs to."""
        self._faults: dict[Key, str] = {}
        self._written: dict[Key, object] = {}
        self._definitions: dict[str, tuple[float, bool]] = {}
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    # ---- what kopf tells ---------------------------------------------------------------------------

    def registry(self) -> kopf.OperatorRegistry:
        """The handlers for kopf: two watches."""
        registry = kopf.OperatorRegistry()

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        async def ensemble(event: Any, **_: Any) -> None:
            self.heard = time.monotonic()
            self._note_ensemble(event["object"], event["type"] == "DELETED")

        @kopf.on.event("apps", "v1", "deployments", registry=registry, labels={"app.kubernetes.io/managed-by": MANAGER})
        async def deployment(event: Any, **_: Any) -> None:
            self.heard = time.monotonic()
            self._note_service(event["object"], event["type"] == "DELETED")

        @kopf.on.login(registry=registry)
        async def login(**kwargs: Any) -> Any:
            return kopf.login_with_kubeconfig(**kwargs) or kopf.login_with_service_account(**kwargs)

        return registry

    def _note_ensemble(self, body: Mapping[str, Any], deleted: bool) -> None:
        found = msgspec.convert(_plain(body), EnsembleObject)
        key = (found.metadata.namespace, found.metadata.name)
        if deleted:
            self.ensembles.pop(key, None)
            self._faults.pop(key, None)
            self._written.pop(key, None)
            if timer := self._timers.pop(key, None):
                timer.cancel()
            return
        before = self.ensembles.get(key)
        self.ensembles[key] = found
        if before is None or before.metadata.uid != found.metadata.uid:
            self._written.pop(key, None)
        if before is None or _decides(before) != _decides(found):
            self.look(key)

    def _note_service(self, body: Mapping[str, Any], deleted: bool) -> None:
        found = msgspec.convert(_plain(body), Deployment)
        key = (found.metadata.namespace, found.metadata.name)
        owner = next((one["name"] for one in body["metadata"].get("ownerReferences", ()) if one["kind"] == KIND), "")
        if not owner:
            return
        before = self._services.get(key)
        if deleted:
            self._services.pop(key, None)
        else:
            self._services[key] = _service(found)
        if self._services.get(key) != before:
            self.look((key[0], owner))

    # ---- the work ----------------------------------------------------------------------------------

    def look(self, key: Key) -> None:
        """Look at an Ensemble soon."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._queue.put_nowait(key)

    @property
    def depth(self) -> int:
        """How many wait to be looked at."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work())
            tasks.create_task(self._resync())

    async def ask(self) -> None:
        """Ask the API server for anything, so that silence means that it is away."""
        await self._api.get(DEFINITIONS, ENSEMBLES.full_name)
        self.heard = time.monotonic()

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC)
            for key in list(self.ensembles):
                self.look(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                await self._look(key)
                self.reconciled["done"] += 1
            except MemberError as error:
                self.reconciled["fault"] += 1
                self._log("fault", str(error), ensemble="/".join(key))
                self._wake(key, 5.0)
            except Exception as error:
                self.reconciled["bug"] += 1
                self._log("bug", f"{type(error).__name__}: {error}", ensemble="/".join(key))
                self._wake(key, 60.0)
            finally:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.look(key)

    async def _look(self, key: Key) -> None:
        seen = await self._observe(key)
        if seen is None:
            return
        fault = ""
        for action in reconcile(seen):
            if fault and (isinstance(action, Apply) or fault != seen.fault):
                # nothing that follows is made without it, and what is said of it comes with the next look
                continue
            try:
                await self._carry_out(key, seen, action)
            except ApiError as error:
                if not isinstance(action, Apply) or error.transient:
                    raise
                fault = f"{action.manifest['kind']} {action.manifest['metadata']['name']}: {error}"
        if fault != self._faults.get(key, ""):
            self._faults[key] = fault
            self._again.add(key)

    async def _observe(self, key: Key) -> Observed | None:
        found = self.ensembles.get(key)
        if found is None:
            return None
        identity = Identity(key[0], key[1], found.metadata.uid)
        read: Converted | ObjectError
        file = ""
        try:
            read = await asyncio.to_thread(convert, key[1], found.spec, check=False)
            file = yaml.safe_dump(file_of(key[1], found.spec), sort_keys=False, width=120)
        except ObjectError as error:
            read = error
        service = self._services.get((key[0], service_name(key[1])))
        if service is not None and not service.ready:
            service = msgspec.structs.replace(service, trouble=await self._trouble(identity))
        missing = {}
        if service is None and isinstance(read, Converted):
            for kind in dict.fromkeys(member.kind for member in read.ensemble.members.values()):
                if kind in CONTROLLERS and not await self._has(CONTROLLERS[kind][0]):
                    missing[CONTROLLERS[kind][0]] = CONTROLLERS[kind][1]
        return Observed(
            identity=identity,
            generation=found.metadata.generation,
            read=read,
            file=file,
            status=found.status,
            settings=self._settings,
            now=time.time(),
            service=service,
            missing=missing,
            fault=self._faults.get(key, ""),
            deleting=bool(found.metadata.deletionTimestamp),
        )

    async def _has(self, definition: str) -> bool:
        since, there = self._definitions.get(definition, (0.0, False))
        if not since or (not there and time.monotonic() - since > KNOWN_SECONDS):
            there = await self._api.get(DEFINITIONS, definition) is not None
            self._definitions[definition] = (time.monotonic(), there)
        return there

    async def _trouble(self, identity: Identity) -> str:
        """Why the service pod does not run, in the API's words."""
        labels = f"{ENSEMBLE}={shortened(identity.name, 63)},app.kubernetes.io/component=service"
        pods, _ = await self._api.within(identity.namespace).list_all(PODS, labels)
        for pod in pods:
            for status in pod.status.containerStatuses or ():
                waiting = status.state.waiting
                if waiting is not None and waiting.reason in TROUBLES:
                    return f"its service pod does not start: {waiting.reason}: {waiting.message}"
            scheduled = pod.condition("PodScheduled", "False")
            if scheduled is not None:
                return f"its service pod is not scheduled: {scheduled.message}"
        return ""

    async def _carry_out(self, key: Key, seen: Observed, action: Action) -> None:
        api = self._api.within(key[0])
        match action:
            case Apply(manifest=manifest):
                await api.apply(resource_of(manifest), manifest, MANAGER)
            case Mark(name=name, digest=digest):
                await api.patch(DEPLOYMENTS, name, {"metadata": {"annotations": {DIGEST: digest}}})
            case Delete(kind=kind, name=name):
                await api.delete(resource_of({"kind": kind}), name)
            case Remove(reason=reason):
                self._log("removed", reason, ensemble="/".join(key))
                await api.delete(ENSEMBLES, key[1])
            case Wake(seconds=seconds):
                self._wake(key, seconds)
            case WriteStatus():
                await self._write(api, key, seen, action)

    async def _write(self, api: Api, key: Key, seen: Observed, action: WriteStatus) -> None:
        before = {one["type"]: one for one in seen.status.get("conditions", ())}
        told = (action, seen.generation)
        if self._written.get(key) == told:
            return
        made = conditions(action.conditions, seen.generation, before, seen.now)
        metadata = {"name": key[1], "namespace": key[0], "uid": seen.identity.uid}
        manifest = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata}
        await api.apply(ENSEMBLES, {**manifest, "status": {**action.fields, "conditions": made}}, MANAGER, "status")
        self._written[key] = told
        for condition in action.conditions:
            if condition.type in ("Degraded", "Failed") and condition.status:
                await self._event(api, seen.identity, condition.reason, condition.message)

    async def _event(self, api: Api, identity: Identity, reason: str, text: str) -> None:
        """A warning beside a condition; the same one again within the hour counts as told."""
        at = stamp(time.time())
        name = f"{identity.name}.{identity.uid[:8]}.{reason.lower()}.{int(time.time() // 3600)}"
        about = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "name": identity.name, "uid": identity.uid}
        manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": identity.namespace},
            "involvedObject": {**about, "namespace": identity.namespace},
            "reason": reason,
            "message": text[:1024],
            "type": "Warning",
            "source": {"component": MANAGER},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        try:
            await api.create(EVENTS, manifest)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                self._log("fault", str(error))

    def _wake(self, key: Key, seconds: float) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.look, key)


def _decides(found: EnsembleObject) -> tuple[Any, ...]:
    """The parts of an object on which a decision depends: most writes of the status change none of them."""
    status = found.status
    return (
        found.metadata.uid,
        found.metadata.generation,
        found.metadata.deletionTimestamp,
        status.get("completionTime"),
        bool(status.get("run")),
        any(one["type"] == "Verified" and one["status"] == "True" for one in status.get("conditions", ())),
    )


def _service(found: Deployment) -> ServiceState:
    containers = found.spec.get("template", {}).get("spec", {}).get("containers") or [{}]
    progress = next((one for one in found.status.conditions or () if one.type == "Available"), None)
    since = seconds_of(progress.lastTransitionTime if progress is not None else found.metadata.creationTimestamp)
    return ServiceState(
        digest=found.metadata.annotations.get(DIGEST, ""),
        image=containers[0].get("image", ""),
        ready=found.status.availableReplicas > 0,
        since=since,
        terminating=bool(found.metadata.deletionTimestamp),
    )


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """What kopf hands over, as plain data."""
    return {name: body[name] for name in ("metadata", "spec", "status") if name in body}
