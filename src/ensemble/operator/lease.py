"""One of several operators leads: whoever holds the Lease (coordination.k8s.io/v1)."""

from __future__ import annotations

__all__ = ["Leadership"]

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Final

from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.model.errors import MemberError
from ensemble.operator.objects import LEASES, Lease
from ensemble.service.logs import Log

DURATION: Final = 15.0
"""Seconds for which a Lease holds without being renewed."""

RENEW: Final = 4.0
"""Seconds between two renewals."""


class Leadership:
    """Waits for the Lease, then renews it. The clock of the holder is not compared with ours: what counts is how long
    we have seen a Lease unchanged."""

    def __init__(self, api: Api, name: str, me: str, log: Log) -> None:
        self._api, self._name, self._me, self._log = api, name, me, log
        self._seen = ("", 0.0)
        """Holder and time of renewal as last seen, and since when on our clock."""
        self.leads = False

    async def acquire(self) -> None:
        """Return when the Lease is ours."""
        told = ""
        while True:
            lease = None
            try:
                lease = await self._api.get(LEASES, self._name)
                if await self._take(lease):
                    self.leads = True
                    self._log("leads", f"{self._me} holds the Lease {self._name}")
                    return
            except MemberError as error:
                self._log("lease", str(error))
            holder = (lease.spec.holderIdentity if lease is not None else "") or ""
            if holder != told:
                told = holder
                self._log("waits", f"{holder} holds the Lease {self._name}")
            await asyncio.sleep(RENEW / 2)

    async def keep(self) -> None:
        """Renew it; return when it is lost, which whoever leads must take as the end."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(RENEW)
            try:
                async with asyncio.timeout(RENEW):
                    lease = await self._api.get(LEASES, self._name)
                    if lease is None or lease.spec.holderIdentity != self._me:
                        self.leads = False
                        return
                    await self._write(lease, {"renewTime": _now()})
                renewed = time.monotonic()
            except (MemberError, TimeoutError) as error:
                self._log("lease", str(error) or "the API server does not answer")
            if time.monotonic() - renewed > DURATION - RENEW:
                self.leads = False
                return

    async def release(self) -> None:
        """Give it up, so that the next one need not wait."""
        if self.leads:
            self.leads = False
            try:
                lease = await self._api.get(LEASES, self._name)
                if lease is not None and lease.spec.holderIdentity == self._me:
                    await self._write(lease, {"holderIdentity": ""})
            except MemberError:
                return

    async def _take(self, lease: Lease | None) -> bool:
        """Take it where nobody has it, or whoever had it has not renewed it for its duration."""
        fields = {"holderIdentity": self._me, "leaseDurationSeconds": int(DURATION), "renewTime": _now()}
        if lease is None:
            manifest = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self._name},
                "spec": {**fields, "acquireTime": _now(), "leaseTransitions": 0},
            }
            try:
                await self._api.create(LEASES, manifest)
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    return False
                raise
            return True
        spec = lease.spec
        version = f"{spec.holderIdentity} {spec.renewTime}"
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        duration = spec.leaseDurationSeconds or DURATION
        if spec.holderIdentity not in ("", None, self._me) and time.monotonic() - self._seen[1] < duration:
            return False
        transitions = (spec.leaseTransitions or 0) + (spec.holderIdentity != self._me)
        return await self._write(lease, {**fields, "acquireTime": _now(), "leaseTransitions": transitions})

    async def _write(self, lease: Lease, fields: dict[str, Any]) -> bool:
        """Change the Lease that was read, and no newer one; whether it was that."""
        change = {"metadata": {"resourceVersion": lease.metadata.resourceVersion}, "spec": fields}
        try:
            await self._api.patch(LEASES, self._name, change)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
