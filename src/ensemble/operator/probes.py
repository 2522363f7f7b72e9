"""A small HTTP server: `/healthz`, `/readyz` and `/metrics`, for the kubelet and for Prometheus."""

from __future__ import annotations

__all__ = ["Check", "probes"]

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ensemble.model.errors import InputError

Check = Callable[[], str]
"""Returns what is wrong; empty when nothing is."""


def port_of(where: str) -> tuple[str, int]:
    """Host and port of `[HOST]:PORT`; without a host, every address. Raises `InputError`."""
    host, _, port = where.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise InputError(f"{where}: expected HOST:PORT or :PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - the kubelet comes from outside the pod


@asynccontextmanager
async def probes(where: str, alive: Check, ready: Check, registry: CollectorRegistry) -> AsyncIterator[str]:
    """Serve until the block is left; yields `HOST:PORT`. Raises `InputError` where the port cannot be had."""

    def answer(check: Check) -> Callable[[web.Request], object]:
        async def handler(_: web.Request) -> web.Response:
            wrong = check()
            return web.Response(text=wrong or "ok", status=503 if wrong else 200)

        return handler

    async def metrics(_: web.Request) -> web.Response:
        # a collector may ask the event loop, so it must not run on it
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", answer(alive)),  # type: ignore[arg-type]
            web.get("/readyz", answer(ready)),  # type: ignore[arg-type]
            web.get("/metrics", metrics),
        ]
    )
    host, port = port_of(where)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise InputError(f"{where}: {error.strerror or error}") from error
    try:
        bound = runner.addresses[0]
        yield f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
