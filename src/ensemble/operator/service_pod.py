"""The process in the service pod: a server with one run, which follows its Ensemble and reports to it.

It listens on a Unix socket only: whoever may `kubectl exec` into the pod may ask, as the plugin `kubectl ensemble`
does. It needs nothing from the API server to start: a run goes on from its journal, a new one begins from the file.
"""

from __future__ import annotations

__all__ = ["ServiceOptions", "serve"]

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from ensemble.engine import Status
from ensemble.members.kubernetes.api import Api, ApiError, connect
from ensemble.members.kubernetes.informer import Informer
from ensemble.model.errors import EnsembleError, InputError, MemberError
from ensemble.model.events import Requested
from ensemble.operator.conversion import Converted, ObjectError, convert
from ensemble.operator.edits import edits
from ensemble.operator.naming import Identity, owner, run_name, shortened
from ensemble.operator.objects import ENSEMBLES, EnsembleObject
from ensemble.operator.probes import probes
from ensemble.operator.resource import GROUP, KIND, KINDS, VERSION
from ensemble.operator.saving import Saver
from ensemble.operator.status import conditions, status_of
from ensemble.operator.telling import Teller
from ensemble.runtime.opening import algorithms, member_kinds
from ensemble.service.host import Host, Hosted, Submission
from ensemble.service.limits import Ceilings
from ensemble.service.logs import Log
from ensemble.service.metrics import registry_of
from ensemble.service.serving import serving
from ensemble.session.security import Security
from ensemble.spec.loader import load_with_places
from ensemble.spec.model import EnsembleSpec, MemberSpec

MANAGER: Final = "ensemble-service"
"""The field manager of what service pods write."""

STATUS_SECONDS: Final = 1.0
"""The shortest time between two writes of the status."""

REST_SECONDS: Final = 60.0
"""The longest time between two looks at the run."""

CANCEL_SECONDS: Final = 20.0
"""How long a run whose Ensemble is gone may take to cancel its jobs."""


class ServiceOptions(Struct, frozen=True):
    """What a service pod is told: whose it is, the name of the run, the file it begins from, where it keeps its state
    and where it listens."""

    identity: Identity
    run: str
    file: Path
    state: Path
    socket: str
    http: str
    log_format: str = "json"
    kubeconfig: str = ""


async def serve(options: ServiceOptions, stop: asyncio.Event) -> None:
    """Run the ensemble until `stop` is set or the Ensemble is gone. Raises `InputError` where it cannot begin."""
    log = Log(options.log_format)
    options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if options.kubeconfig:
        # where members look
        os.environ["KUBECONFIG"] = options.kubeconfig
    api = connect(options.kubeconfig, namespace=options.identity.namespace)
    ceilings = Ceilings(custom=True)
    try:
        async with serving(f"unix:{options.socket}", options.state, ceilings, Security(), log) as served:
            hosted = await _begin(served.host, options, api)
            registry, lag = registry_of(served.host, served.acceptor)
            pod = ServicePod(api, options, served.host, hosted, log)
            async with _probed(options.http, pod, registry), asyncio.TaskGroup() as tasks:
                everything = [tasks.create_task(one) for one in pod.tasks()]
                gone = tasks.create_task(pod.gone.wait())
                ended = tasks.create_task(stop.wait())
                await asyncio.wait([gone, ended], return_when=asyncio.FIRST_COMPLETED)
                if pod.gone.is_set():
                    await pod.cancel()
                for task in (*everything, gone, ended, lag):
                    task.cancel()
    finally:
        await api.close()


@contextlib.asynccontextmanager
async def _probed(where: str, pod: ServicePod, registry: CollectorRegistry) -> Any:
    if not where:
        yield
        return
    async with probes(where, lambda: "", lambda: "", registry) as address:
        pod.log("probes", f"health and metrics on http://{address}")
        yield


async def _begin(host: Host, options: ServiceOptions, api: Api) -> Hosted:
    """The run, which a server that starts again has begun already.

    A new one begins from the object as it is now, for the file may be older; without an answer, from the file.
    """
    if options.run in host.runs:
        return host.runs[options.run]
    identity = options.identity
    found = None
    with contextlib.suppress(MemberError):
        found = await api.get(ENSEMBLES, identity.name)
    if found is not None and found.metadata.uid == identity.uid:
        spec = convert(identity.name, found.spec, check=False).ensemble
        _kept(options.state).write_bytes(msgspec.json.encode(found.spec))
    else:
        spec, _ = load_with_places(options.file, algorithms(), member_kinds())
    by = f"Ensemble {identity.namespace}/{identity.name}"
    plain = msgspec.to_builtins(_in_cluster(spec, identity))
    return host.submit(Submission(options.run, by, plain, str(options.file), identity.uid))


def _kept(state: Path) -> Path:
    """Where the `spec` is kept that the run follows."""
    return state / "applied.json"


def _in_cluster(spec: EnsembleSpec, identity: Identity) -> EnsembleSpec:
    """The same, with what members of Kubernetes must know: whose their objects are."""

    def told(name: str, member: MemberSpec) -> MemberSpec:
        if member.kind not in KINDS.values():
            return member
        # names of objects follow from these alone, so a run that begins again without its journal finds them
        own: dict[str, Any] = {"namespace": identity.namespace, "owner": owner(identity)}
        if member.kind == "minicluster":
            own["name"] = shortened(f"{run_name(identity)}-{name}".lower().replace("_", "-"), 45)
        else:
            own["identity"] = identity.uid[:8]
        return replace(member, options={**member.options, **own})

    return replace(spec, members={name: told(name, member) for name, member in spec.members.items()})


class ServicePod:
    """Follows the Ensemble, and writes its status."""

    def __init__(self, api: Api, options: ServiceOptions, host: Host, hosted: Hosted, log: Log) -> None:
        self.log = log
        self.gone = asyncio.Event()
        """The Ensemble was deleted."""
        self._api, self._identity, self._state = api, options.identity, options.state
        self._host, self._hosted = host, hosted
        self._seen: EnsembleObject | None = None
        self._news = asyncio.Event()
        self._applied: Converted | None = None
        self._generation = 0
        self._refused = ""
        self._saver = Saver(hosted, options.state, log)
        self._conditions: dict[str, Mapping[str, Any]] = {}

    def tasks(self) -> list[Any]:
        """What it does at the same time, each until it is cancelled."""
        teller = Teller(self._api, self._identity, self._hosted, self._state)
        return [self._watch(), self._follow(), self._write(), self._beat(), teller.run(), self._saver.run()]

    # ---- the object --------------------------------------------------------------------------------

    def changed(self, found: EnsembleObject, deleted: bool) -> None:
        """Told by the informer."""
        if deleted or found.metadata.uid != self._identity.uid:
            self.gone.set()
            return
        self._seen = found
        if not self._conditions:
            self._conditions = {one["type"]: one for one in found.status.get("conditions", ())}
        self._news.set()

    def lost(self, why: str) -> None:
        """Told by the informer: the API server is away. The run goes on."""
        self.log("api-away", why)

    async def _watch(self) -> None:
        informer = Informer(self._api.another(), ENSEMBLES, fields=f"metadata.name={self._identity.name}")
        informer.add(self)
        try:
            while True:
                try:
                    await informer.start()
                    break
                except MemberError as error:
                    self.log("api-away", str(error))
                    await asyncio.sleep(2.0)
            if self._seen is None:
                self.gone.set()
            await asyncio.Event().wait()
        finally:
            await informer.stop()

    async def _follow(self) -> None:
        """Carry out what is new in `spec`."""
        while True:
            await self._news.wait()
            self._news.clear()
            seen = self._seen
            assert seen is not None
            if seen.metadata.generation != self._generation:
                try:
                    await self._edit(seen)
                except EnsembleError as error:
                    self._refused = str(error)
                    self.log("edit-refused", self._refused)
                self._generation = seen.metadata.generation
                if self._applied is not None:
                    self._saver.want(self._applied.spec.artifacts)
            await self._suspend(bool(seen.spec.get("suspend")))
            self._hosted.wake()

    async def _edit(self, seen: EnsembleObject) -> None:
        """What has changed since the last generation, also while there was no process here, becomes requests."""
        kept = _kept(self._state)
        after = convert(seen.metadata.name, seen.spec, check=False)
        if self._applied is None:
            before = seen.spec
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                before = msgspec.json.decode(kept.read_bytes())
            self._applied = convert(seen.metadata.name, before, check=False)
        refused: list[str] = []
        edit = edits(self._applied, after, f"Ensemble generation {seen.metadata.generation}")
        for number, request in enumerate(edit.requests):
            key = f"{self._identity.uid[:8]}-{seen.metadata.generation}-{number}"
            answer = await self._host.ask(self._hosted.submission.run, replace(request, key=key))
            self.log("edit", answer.text, what=request.what, done=str(answer.done))
            if not answer.done:
                refused.append(f"spec: {answer.text}")
        self._applied = after
        kept.write_bytes(msgspec.json.encode(seen.spec))
        refused += edit.refused
        if refused:
            raise ObjectError(refused)
        self._refused = ""

    async def _suspend(self, wanted: bool) -> None:
        hosted = self._hosted
        status = await hosted.status(points=False)
        if status is None or status.state == "over":
            return
        by = f"Ensemble {self._identity.namespace}/{self._identity.name}"
        with contextlib.suppress(EnsembleError):
            if wanted and status.state in ("starting", "running"):
                await self._host.ask(hosted.submission.run, Requested("pause", by))
            elif not wanted and status.state in ("drained", "interrupted", "detached") and not hosted.busy:
                self._host.resume(hosted.submission.run)
            elif not wanted and status.state == "draining" and status.draining == "pause":
                # it goes on as soon as what runs has ended
                asyncio.get_running_loop().call_later(STATUS_SECONDS, self._news.set)

    async def cancel(self) -> None:
        """Cancel what runs: the Ensemble is gone."""
        self.log("cancelled", "the Ensemble was deleted")
        with contextlib.suppress(EnsembleError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._host.ask(self._hosted.submission.run, Requested("cancel", "deletion"))
                while self._hosted.busy:
                    await self._hosted.changed(1.0)

    # ---- what it says ------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write the status when it has changed, at most once a second."""
        last: object = None
        while True:
            # it listens before it looks, so that nothing is missed in between
            news = asyncio.create_task(self._hosted.changed(REST_SECONDS))
            await asyncio.sleep(0)
            made = await self._made()
            if made is not None and made != last:
                try:
                    await self._api.apply(ENSEMBLES, self._manifest(made), MANAGER, "status")
                    last = made
                except ApiError as error:
                    if error.status == 404:
                        self.gone.set()
                    self.log("status-refused", str(error))
                except MemberError as error:
                    self.log("api-away", str(error))
            await asyncio.sleep(STATUS_SECONDS)
            if made == last:
                await news
            else:
                news.cancel()

    async def _made(self) -> dict[str, Any] | None:
        status = await self._hosted.status(points=False)
        if status is None:
            return None
        suspended = self._seen is not None and bool(self._seen.spec.get("suspend"))
        fields, found = status_of(status, self._generation or 1, suspended)
        if self._hosted.trouble and fields["phase"] == "Running":
            fields["reason"] = self._hosted.trouble
        if self._refused:
            fields["reason"] = self._refused
        found += self._saver.conditions()
        if self._saver.artifact:
            fields["artifact"] = self._saver.artifact
        made = conditions(found, self._generation or 1, self._conditions, time.time())
        self._conditions = {one["type"]: one for one in made}
        return {**fields, "conditions": made}

    def _manifest(self, status: dict[str, Any]) -> dict[str, Any]:
        identity = self._identity
        metadata = {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid}
        return {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata, "status": status}

    async def _beat(self) -> None:
        """Say every `checkSeconds` how the members stand."""
        while True:
            status = await self._hosted.status(points=False)
            if status is not None and status.state == "running" and any(one.state == "up" for one in status.members):
                self.log("ready", "Ensemble is Ready", payload=msgspec.json.encode(_payload(status)).decode())
            seconds = self._applied.spec.check_seconds if self._applied is not None else 10
            await asyncio.sleep(seconds)


def _payload(status: Status) -> dict[str, Any]:
    return {
        member.name: {
            "nodes": {
                "node_up_count": member.nodes_up,
                "node_free_count": member.nodes_free,
                "node_cores_up": member.cores_up,
                "node_cores_free": member.cores_free,
            },
            "queue": {"outstanding": member.outstanding, **member.waiting},
        }
        for member in status.members
    }


def options_of(ensemble: str, uid: str, **others: Any) -> ServiceOptions:
    """Options from the command line; `ensemble` is NAMESPACE/NAME. Raises `InputError`."""
    namespace, _, name = ensemble.partition("/")
    if not namespace or not name:
        raise InputError(f"--ensemble {ensemble}: expected NAMESPACE/NAME")
    return ServiceOptions(Identity(namespace, name, uid), **others)
