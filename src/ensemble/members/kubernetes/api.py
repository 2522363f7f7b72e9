"""The API of Kubernetes, wrapped once: how it is reached, what its errors mean, and each request that we make.

lightkube reads the kubeconfig or the account of the pod and gives a client that is signed in. Requests and answers are
our own: an informer needs bookmarks and only a few fields of each object (`docs/decisions/kubernetes.md`).
"""

from __future__ import annotations

__all__ = ["Api", "ApiError", "Gone", "connect"]

import asyncio
import contextlib
import copy
import os
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import yaml

from ensemble.members.kubernetes.objects import ACCESS_REVIEWS, Listed, Meta, Resource
from ensemble.model.errors import MemberError, MemberUnavailable

if TYPE_CHECKING:
    from lightkube import AsyncClient
    from lightkube.config.kubeconfig import SingleConfig

T = TypeVar("T", bound=Listed)

PATIENCE: Final = 60.0
"""Seconds for which a request is sent again while the server has no time for it or cannot be reached."""
_REQUEST: Final = 30.0
"""Seconds that one request may take."""
_CONNECTIONS: Final = 64
_SILENCE: Final = 150.0
"""Seconds without a line after which a watch counts as dead; the server sends a bookmark about once a minute."""
_WATCH: Final = (240, 300)
"""Seconds after which the server is asked to end a watch: the first to the second, so that not all end together."""
_PAUSES: Final = (0.1, 5.0)
"""Seconds between two attempts: from the first, doubled up to the second."""
_STARTING: Final = 15.0
"""Seconds that a server has to become ready before we believe that it forbids something."""
_PAGE: Final = 500
_PATCHES: Final = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ApiError(MemberError):
    """The server refused a request. `status` is the HTTP status, `reason` the API's word, such as `AlreadyExists`."""

    def __init__(self, message: str, status: int = 0, reason: str = "", transient: bool = False) -> None:
        self.status, self.reason = status, reason
        super().__init__(message, transient)


class Gone(ApiError):
    """A watch cannot go on from where it was (410): what there is must be listed again."""


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 - the API's own names
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    items: list[msgspec.Raw]
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


class _Bookmark(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)


class Api:
    """One account on one API server, and the namespace that it works in.

    Every method raises `MemberError`: with `transient` where the server cannot be reached or has no time, and as
    `ApiError` where it refused.
    """

    def __init__(self, config: SingleConfig, namespace: str = "") -> None:
        self.namespace = namespace or config.namespace
        self.server = str(config.cluster.server)
        # imported here: whoever only asks what kinds of members there are does not wait for it
        import httpx2
        from lightkube.config import client_adapter

        self._config = config
        self._timeout = httpx2.Timeout
        self._unreachable = (httpx2.HTTPError, OSError)
        self._client = client_adapter.AsyncClient(
            config, client_adapter.ConnectionParams(timeout=self._timeout(_REQUEST, pool=None))
        )
        self._terminal: AsyncClient | None = None

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells the objects that it sees from those of another server, account or namespace."""
        return (self.server, self._config.context_name, str(self._config.fname or ""), self.namespace)

    def another(self) -> Api:
        """The same account with connections of its own."""
        return Api(self._config, self.namespace)

    def within(self, namespace: str) -> Api:
        """The same account and the same connections, in another namespace."""
        found = copy.copy(self)
        found.namespace = namespace
        return found

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        if self._terminal is not None:
            await self._terminal.close()

    # ---- objects -------------------------------------------------------------------------------------

    async def create(self, resource: Resource[T], manifest: Mapping[str, Any], patience: float = PATIENCE) -> T:
        """Create an object. A name that is taken is an `ApiError` with the reason `AlreadyExists`."""
        answer = await self._send("POST", resource, body=manifest, patience=patience)
        return msgspec.json.decode(answer, type=resource.type)

    async def apply(self, resource: Resource[T], manifest: Mapping[str, Any], manager: str, subresource: str = "") -> T:
        """Server-side apply: the fields of the manifest become ours (`manager`), whoever had them."""
        answer = await self._send(
            "PATCH", resource, manifest["metadata"]["name"], body=manifest, content="application/apply-patch+yaml",
            params={"fieldManager": manager, "force": "true"}, subresource=subresource,
        )  # fmt: skip
        return msgspec.json.decode(answer, type=resource.type)

    async def patch(
        self, resource: Resource[T], name: str, change: object, kind: str = "merge", subresource: str = ""
    ) -> T:
        """Change an object by a merge patch, or by one of kind `json` or `strategic`."""
        answer = await self._send("PATCH", resource, name, subresource=subresource, body=change, content=_PATCHES[kind])
        return msgspec.json.decode(answer, type=resource.type)

    async def get(self, resource: Resource[T], name: str) -> T | None:
        """The object of that name; None where there is none."""
        try:
            answer = await self._send("GET", resource, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return msgspec.json.decode(answer, type=resource.type)

    async def delete(
        self, resource: Resource[T], name: str, *, grace: float | None = None, propagation: str = "Background"
    ) -> bool:
        """Delete an object; return whether it was there. `grace`: seconds between SIGTERM and SIGKILL of a pod."""
        options: dict[str, Any] = {"propagationPolicy": propagation}
        if grace is not None:
            options["gracePeriodSeconds"] = max(1, round(grace + 0.499))
        try:
            await self._send("DELETE", resource, name, body=options)
        except ApiError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    async def list_all(
        self, resource: Resource[T], labels: str = "", fields: str = "", patience: float = 0.0
    ) -> tuple[list[T], str]:
        """All objects that the selectors choose, and the version of the whole list, from which a watch goes on."""
        found: list[T] = []
        params = _selectors(labels, fields) | {"limit": str(_PAGE)}
        while True:
            answer = await self._send("GET", resource, params=params, patience=patience)
            page = msgspec.json.decode(answer, type=_List)
            found += (msgspec.json.decode(item, type=resource.type) for item in page.items)
            if not page.metadata.continue_:
                return found, page.metadata.resourceVersion
            params["continue"] = page.metadata.continue_

    async def watch(
        self, resource: Resource[T], version: str, labels: str = "", fields: str = ""
    ) -> AsyncIterator[tuple[str, T | None, str]]:
        """What happens after `version`: `ADDED`, `MODIFIED` or `DELETED`, the object, and the version thereafter.

        A bookmark has no object. The iterator ends when the server ends the watch. Raises `Gone` where the version is
        too old, else `MemberError`.
        """
        params = _selectors(labels, fields) | {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(*_WATCH)),
        }
        path = resource.path(self.namespace)
        timeout = self._timeout(_REQUEST, read=_SILENCE, pool=None)
        event_of = msgspec.json.Decoder(_WatchEvent).decode
        object_of = msgspec.json.Decoder(resource.type).decode
        try:
            async with self._client.stream("GET", path, params=params, timeout=timeout) as response:
                if response.status_code >= 400:
                    raise _refusal(response.status_code, await response.aread(), resource, "watch", self.namespace)
                async for line in response.aiter_lines():
                    event = event_of(line)
                    if event.type == "ERROR":
                        status = msgspec.json.decode(event.object, type=_Status)
                        raise _refusal(status.code, bytes(event.object), resource, "watch", self.namespace)
                    if event.type == "BOOKMARK":
                        yield (
                            "BOOKMARK",
                            None,
                            msgspec.json.decode(event.object, type=_Bookmark).metadata.resourceVersion,
                        )
                        continue
                    found = object_of(event.object)
                    yield event.type, found, found.metadata.resourceVersion
        except (*self._unreachable, msgspec.DecodeError) as error:
            raise _unreachable(self.server, error) from error

    # ---- pods ----------------------------------------------------------------------------------------

    async def log(self, pod: str, container: str, limit: int = 0) -> bytes:
        """What a container has written so far; its first `limit` bytes where there is a limit."""
        params = {"container": container} | ({"limitBytes": str(limit)} if limit else {})
        return await self._pod(pod, "log", params)

    async def follow(self, pod: str, container: str) -> AsyncIterator[bytes]:
        """What a container writes, from its start to its end."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        timeout = self._timeout(_REQUEST, read=None, pool=None)
        params = {"container": container, "follow": "true"}
        try:
            async with self._client.stream("GET", path, params=params, timeout=timeout) as response:
                if response.status_code >= 400:
                    raise ApiError(_message(await response.aread(), response.status_code), response.status_code)
                async for part in response.aiter_bytes():
                    yield part
        except self._unreachable as error:
            raise _unreachable(self.server, error) from error

    async def _pod(self, pod: str, what: str, params: Mapping[str, str]) -> bytes:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/{what}"
        try:
            response = await self._client.get(path, params=dict(params))
        except self._unreachable as error:
            raise _unreachable(self.server, error) from error
        if response.status_code >= 400:
            text = _message(response.content, response.status_code)
            raise ApiError(text, response.status_code, transient=response.status_code >= 500)
        return response.content

    async def execute(self, pod: str, container: str, command: Sequence[str]) -> bytes:
        """The output of a command in a running container. Raises `MemberError` where it fails."""
        from lightkube import AsyncClient

        if self._terminal is None:
            self._terminal = AsyncClient(config=self._config, namespace=self.namespace)
        try:
            answer = await self._terminal.exec(
                pod, namespace=self.namespace, container=container, command=list(command), stdout=True, stderr=True,
                decode=None, timeout=_REQUEST,
            )  # fmt: skip
        except (*self._unreachable, TimeoutError) as error:
            raise MemberError(f"nothing can be run in pod {pod}: {error or type(error).__name__}", True) from error
        if answer.exit_code:
            errors = _bytes(answer.stderr).decode(errors="replace").strip()
            raise MemberError(errors or f"it ended with exit code {answer.exit_code}")
        return _bytes(answer.stdout)

    # ---- rights --------------------------------------------------------------------------------------

    async def missing_rights(self, wanted: Iterable[tuple[Resource[Any], str, str]]) -> list[str]:
        """Which of the verbs (resource, subresource, verb) this account may not use, each as `create jobs.batch`."""

        async def ask(resource: Resource[Any], subresource: str, verb: str) -> str:
            attributes = {
                "namespace": self.namespace, "group": resource.group, "resource": resource.plural,
                "subresource": subresource, "verb": verb,
            }  # fmt: skip
            manifest = {"apiVersion": ACCESS_REVIEWS.api_version, "kind": ACCESS_REVIEWS.kind}
            review = await self.create(ACCESS_REVIEWS, manifest | {"spec": {"resourceAttributes": attributes}}, 0.0)
            name = resource.full_name + (f"/{subresource}" if subresource else "")
            return "" if review.status.get("allowed") else f"{verb} {name}"

        rights = tuple(wanted)
        found = await asyncio.gather(*(ask(*one) for one in rights))
        if any(found):
            await self._until_ready()
            found = await asyncio.gather(*(ask(*one) for one in rights))
        return [right for right in found if right]

    async def _until_ready(self) -> None:
        """Wait, at most `_STARTING`, until the server says that it is ready.

        One that has just started has not read the roles yet, and forbids everything to everybody.
        """
        until = time.monotonic() + _STARTING
        while time.monotonic() < until:
            with contextlib.suppress(*self._unreachable):
                if (await self._client.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(_PAUSES[0])

    # ---- requests ------------------------------------------------------------------------------------

    async def _send(
        self,
        method: str,
        resource: Resource[Any],
        name: str = "",
        *,
        subresource: str = "",
        params: Mapping[str, str] | None = None,
        body: object = None,
        content: str = "application/json",
        patience: float = PATIENCE,
    ) -> bytes:
        """Send a request, again and again for `patience` seconds while the server has no time or is away.

        Whether a request that got no answer was carried out is not known: every request of ours may be sent twice.
        """
        path = resource.path(self.namespace, name, subresource)
        data = msgspec.json.encode(body) if body is not None else None
        headers = {"Content-Type": content} if data is not None else None
        until, pause, forbidden = time.monotonic() + patience, _PAUSES[0], False
        while True:
            asked_to_wait = 0.0
            try:
                response = await self._client.request(
                    method, path, params=dict(params or {}), content=data, headers=headers
                )
                if response.status_code < 400:
                    return bytes(response.content)
                error: MemberError = _refusal(
                    response.status_code, response.content, resource, _VERBS[method], self.namespace
                )
                asked_to_wait = _retry_after(response.headers.get("Retry-After", ""))
            except self._unreachable as failure:
                error = _unreachable(self.server, failure)
                error.__cause__ = failure
            if isinstance(error, ApiError) and error.reason == "NoRight" and not forbidden:
                forbidden = True
                await self._until_ready()
                continue
            wait = max(asked_to_wait, pause * random.uniform(0.5, 1.0))
            if not error.transient or time.monotonic() + wait > until:
                raise error
            await asyncio.sleep(wait)
            pause = min(pause * 2, _PAUSES[1])


_VERBS: Final = {"GET": "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


def connect(kubeconfig: str = "", context: str = "", namespace: str = "") -> Api:
    """Sign in with the first of: the kubeconfig given, that of `KUBECONFIG`, the pod's own account, `~/.kube/config`.

    Raises `MemberUnavailable` where there is none, or it cannot be read.
    """
    try:
        from lightkube.core.exceptions import ConfigError
    except ImportError as error:
        text = "lightkube is not installed; `pip install 'ensemble-hpc[kubernetes]'` brings it"
        raise MemberUnavailable(text) from error
    try:
        return Api(_config(kubeconfig, context), namespace)
    except ConfigError as error:
        raise MemberUnavailable(f"no cluster can be reached: {error}") from error
    except (OSError, KeyError, AttributeError, TypeError, AssertionError, ValueError, yaml.YAMLError) as error:
        # what a file may hold that is no kubeconfig
        text = " ".join(str(error).split())
        raise MemberUnavailable(f"no cluster can be reached: the kubeconfig cannot be used ({text})") from error


def _config(kubeconfig: str, context: str) -> SingleConfig:
    from lightkube import KubeConfig
    from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT
    from lightkube.core.exceptions import ConfigError

    named = kubeconfig or os.environ.get("KUBECONFIG", "")
    if not named and Path(SERVICE_ACCOUNT, "token").exists():
        found = KubeConfig.from_service_account()
    else:
        # as kubectl does, the first file of a list that exists
        files = [name for name in named.split(os.pathsep) if name] or [DEFAULT_KUBECONFIG]
        there = [name for name in files if Path(name).expanduser().is_file()]
        if not there:
            raise ConfigError(f"there is no kubeconfig {files[0]}, and this is no pod of a cluster")
        found = KubeConfig.from_file(there[0])
    config = found.get(context or None)
    if config is None:
        raise ConfigError("the kubeconfig names no current context")
    return config


def _bytes(said: str | bytes | None) -> bytes:
    return said.encode() if isinstance(said, str) else said or b""


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return ({"labelSelector": labels} if labels else {}) | ({"fieldSelector": fields} if fields else {})


def _retry_after(text: str) -> float:
    return min(float(text), PATIENCE) if text.isdigit() else 0.0


def _unreachable(server: str, error: Exception) -> MemberError:
    return MemberError(f"the API server {server} does not answer: {error or type(error).__name__}", transient=True)


def _message(body: bytes, status: int) -> str:
    return _status(body).message or body.decode(errors="replace").strip()[:500] or f"HTTP status {status}"


def _status(body: bytes) -> _Status:
    try:
        return msgspec.json.decode(body, type=_Status)
    except msgspec.MsgspecError:
        return _Status()


def _refusal(status: int, body: bytes, resource: Resource[Any], verb: str, namespace: str) -> ApiError:
    """What an answer with an error status means."""
    said = _status(body)
    message = _message(body, status)
    if status == 410 or said.reason in ("Expired", "Gone"):
        return Gone(message, 410, said.reason, transient=True)
    # a group or version that is not served is answered without a status object
    if status == 404 and (not said.reason or "could not find the requested resource" in message):
        install = f"; `{resource.install}` installs it" if resource.install else ""
        return ApiError(f"this cluster has no {resource.kind} ({resource.full_name}){install}", 404, "NoKind")
    if status == 401:
        return ApiError(f"the API server does not accept our credentials: {message}", 401, said.reason, transient=True)
    if status == 403 and "exceeded quota" in message:
        return ApiError(message, 403, "QuotaExceeded")
    if status == 403 and "is forbidden: User" in message:
        text = f"the role in namespace {namespace} lacks `{verb} {resource.full_name}` ({message})"
        return ApiError(text, 403, "NoRight")
    transient = status in (408, 429) or status >= 500
    return ApiError(message, status, said.reason, transient)
