"""The validating webhook: `ensemble check` for objects, so that `kubectl apply` refuses a bad one with its reasons.

Both replicas of the operator serve it. Their certificate is in a Secret of theirs; whoever finds it missing or old
makes another, and the API server is told of the old and the new authority, so that no call fails while it changes.
"""

from __future__ import annotations

__all__ = ["NAME", "review", "webhook"]

import asyncio
import base64
import contextlib
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.members.kubernetes.objects import Meta, Resource
from ensemble.model.errors import InputError, MemberError
from ensemble.operator.conversion import ObjectError, convert
from ensemble.operator.edits import edits
from ensemble.operator.objects import WEBHOOKS
from ensemble.operator.probes import port_of
from ensemble.service.logs import Log
from ensemble.session.certificates import certificates

NAME: Final = "ensemble-operator"
"""The name of the ValidatingWebhookConfiguration, of the Service, and of the Secret with the certificate."""

WEBHOOK: Final = "check.ensemble.flux-framework.org"
DAYS: Final = 90
RENEW_DAYS: Final = 30
"""A certificate with fewer days left is replaced."""

LOOK: Final = 60.0
"""Seconds between two looks at the certificate."""

MOST: Final = 20
"""Problems that a refusal names."""


# ---- the decision ------------------------------------------------------------------------------------------


def review(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the `request` of an AdmissionReview."""
    refused: list[str] = []
    warnings: tuple[str, ...] = ()
    found = request.get("object") or {}
    name = found.get("metadata", {}).get("name") or request.get("name") or "ensemble"
    try:
        after = convert(name, found.get("spec"))
        warnings = after.warnings
        old = request.get("oldObject") or {}
        if request.get("operation") == "UPDATE" and _begun(old) and old.get("spec") != found.get("spec"):
            with contextlib.suppress(ObjectError):
                refused += edits(convert(name, old.get("spec"), check=False), after).refused
    except ObjectError as error:
        refused += error.problems
    answer: dict[str, Any] = {"uid": request.get("uid", ""), "allowed": not refused}
    if refused:
        more = [f"and {len(refused) - MOST} more"] if len(refused) > MOST else []
        text = "\n".join(["this Ensemble cannot work:", *refused[:MOST], *more])
        answer["status"] = {"code": 422, "reason": "Invalid", "message": text}
    if warnings:
        # the API server cuts them at 256 characters each and 4,096 in all
        answer["warnings"] = [warning[:256] for warning in warnings[:10]]
    return answer


def _begun(old: Mapping[str, Any]) -> bool:
    status = old.get("status") or {}
    return bool(status.get("run")) and not status.get("completionTime") and not old["metadata"].get("deletionTimestamp")


# ---- the server --------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def webhook(api: Api, where: str, hosts: Sequence[str], configuration: str, log: Log) -> AsyncIterator[str]:
    """Serve until the block is left; yields `HOST:PORT`. Raises `InputError` where the port cannot be had."""

    async def handler(request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read())
        answer = await asyncio.to_thread(review, asked["request"])
        body = {"apiVersion": asked["apiVersion"], "kind": "AdmissionReview", "response": answer}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    names = list(hosts) or [f"{NAME}.{api.namespace}.svc", f"{NAME}.{api.namespace}.svc.cluster.local"]
    keeper = _Keeper(api, names, configuration, log)
    await keeper.look()
    app = web.Application(client_max_size=4 << 20)
    app.add_routes([web.post("/check", handler)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, port = port_of(where)
    task = asyncio.create_task(keeper.run(), name="certificate")
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=keeper.context).start()
        except OSError as error:
            raise InputError(f"--webhook {where}: {error.strerror or error}") from error
        bound = runner.addresses[0]
        log("webhook", f"serving https://{bound[0]}:{bound[1]}/check")
        yield f"{bound[0]}:{bound[1]}"
    finally:
        task.cancel()
        await runner.cleanup()


# ---- the certificate ---------------------------------------------------------------------------------------


class _Secret(Struct, kw_only=True):
    """The Secret with the certificate."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    data: dict[str, str] = {}


_SECRETS: Final = Resource("", "v1", "Secret", "secrets", _Secret)


class _Keeper:
    """Keeps the certificate young, and the API server told of its authority."""

    def __init__(self, api: Api, names: list[str], configuration: str, log: Log) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._api, self._names, self._configuration, self._log = api, names, configuration, log
        self._loaded = ""
        self._told = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self.look()
            except MemberError as error:
                self._log("fault", str(error))

    async def look(self) -> None:
        """Load the certificate that is there, or make one."""
        secret = await self._api.get(_SECRETS, NAME)
        if secret is None or float(_text(secret.data, "renew") or 0) < time.time() or self._others(secret.data):
            secret = await self._renew(secret)
        if secret.data["tls.crt"] != self._loaded:
            await asyncio.to_thread(self._load, secret.data)
            self._loaded = secret.data["tls.crt"]
        if secret.data["ca.crt"] != self._told:
            await self._tell(secret.data["ca.crt"])

    def _others(self, data: Mapping[str, str]) -> bool:
        """Whether the certificate is for other names than are asked for."""
        return _text(data, "names").split() != self._names

    async def _renew(self, secret: _Secret | None) -> _Secret:
        made = await asyncio.to_thread(certificates, self._names, NAME, DAYS)
        before = _text(secret.data, "ca.crt") if secret is not None else ""
        # the last authority is kept beside the new one until the next renewal
        last = before[before.rfind("-----BEGIN") :] if before else ""
        data = {
            "ca.crt": last + made.authority.decode(),
            "tls.crt": made.certificate.decode(),
            "tls.key": made.key.decode(),
            "names": " ".join(self._names),
            "renew": str(int(time.time() + (DAYS - RENEW_DAYS) * 86_400)),
        }
        coded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        self._log("certificate", "a new certificate for the webhook")
        try:
            if secret is None:
                manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "data": coded}
                return await self._api.create(_SECRETS, manifest)
            version = {"metadata": {"resourceVersion": secret.metadata.resourceVersion}}
            return await self._api.patch(_SECRETS, NAME, {**version, "data": coded})
        except ApiError as error:
            if error.status != 409:
                raise
        # the other replica was quicker
        found = await self._api.get(_SECRETS, NAME)
        if found is None:
            raise MemberError(f"the Secret {NAME} comes and goes", transient=True)
        return found

    def _load(self, data: Mapping[str, str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
            certificate.write_text(_text(data, "tls.crt"))
            key.touch(0o600)
            key.write_text(_text(data, "tls.key"))
            self.context.load_cert_chain(certificate, key)

    async def _tell(self, authority: str) -> None:
        change = {"webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": authority}}]}
        try:
            await self._api.patch(WEBHOOKS, self._configuration, change, "strategic")
            self._told = authority
        except ApiError as error:
            text = f"the ValidatingWebhookConfiguration {self._configuration} cannot be told of the certificate"
            self._log("webhook", f"{text}: {error}")


def _text(data: Mapping[str, str], key: str) -> str:
    return base64.b64decode(data.get(key, "")).decode()
