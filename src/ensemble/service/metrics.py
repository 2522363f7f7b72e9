"""The metrics of the server, for Prometheus."""

from __future__ import annotations

__all__ = ["Exposed", "expose", "registry_of"]

import asyncio
import contextlib
import ipaddress
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ensemble.model.errors import InputError
from ensemble.model.jobs import OUTCOMES
from ensemble.session.security import Security

if TYPE_CHECKING:
    from ensemble.members.remote import Acceptor
    from ensemble.service.host import Host, Hosted

_SCRAPE_SECONDS: Final = 10.0
_LAG_SECONDS: Final = 1.0


class Exposed:
    """The endpoint; `address` is where it really is."""

    def __init__(self, address: str, server: Any, thread: Any, lag: asyncio.Task[None]) -> None:
        self.address, self._server, self._thread, self._lag = address, server, thread, lag

    def close(self) -> None:
        """Serve no more."""
        self._lag.cancel()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)


def expose(where: str, host: Host, acceptor: Acceptor, security: Security) -> Exposed:
    """Serve `/metrics` at `[HOST:]PORT`; the host is loopback where none is named.

    Raises `InputError` for an address that is none or is taken, and for one that other machines reach without TLS.
    """
    name, _, text = where.rpartition(":")
    name = name.strip("[]") or "127.0.0.1"
    if not text.isdigit() or int(text) > 65535:
        raise InputError(f"--metrics {where}: expected a port, or HOST:PORT")
    tls: dict[str, Any] = {}
    if not _loopback(name):
        if not security.cert:
            raise InputError(
                f"--metrics {where}: other machines can reach that address; it needs --tls-cert and --tls-key"
            )
        tls = {"certfile": security.cert, "keyfile": security.key}
        if security.ca:
            tls |= {"client_cafile": security.ca, "client_auth_required": True}
    registry, lag = registry_of(host, acceptor)
    try:
        server, thread = start_http_server(int(text), name, registry, **tls)
    except OSError as error:
        lag.cancel()
        raise InputError(f"--metrics {where}: {error.strerror or error}") from error
    scheme = "https" if tls else "http"
    shown = f"[{name}]" if ":" in name else name
    return Exposed(f"{scheme}://{shown}:{server.server_port}/metrics", server, thread, lag)


def registry_of(host: Host, acceptor: Acceptor) -> tuple[CollectorRegistry, asyncio.Task[None]]:
    """The metrics of a server, and the task that measures the delay of its event loop until it is cancelled.

    Collect them in another thread than that of the event loop.
    """
    collector = _Collector(host, acceptor)
    registry = CollectorRegistry()
    registry.register(collector)
    registry.register(host.syncs)
    ProcessCollector(registry=registry)
    return registry, asyncio.create_task(collector.measure_lag(), name="event loop lag")


def _loopback(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


class _Collector:
    """Looks at the host when it is asked: on the event loop, whoever asks."""

    def __init__(self, host: Host, acceptor: Acceptor) -> None:
        self._host, self._acceptor = host, acceptor
        self._loop = asyncio.get_running_loop()
        self._lag = 0.0

    async def measure_lag(self) -> None:
        """How much later than it wanted something is done, at worst, lately."""
        while True:
            due = time.monotonic() + _LAG_SECONDS
            await asyncio.sleep(_LAG_SECONDS)
            self._lag = max(time.monotonic() - due, self._lag * 0.9)

    def describe(self) -> Iterable[Any]:
        """Nothing is known beforehand."""
        return []

    def collect(self) -> Iterable[Any]:
        """Called in a thread of the endpoint's."""
        return asyncio.run_coroutine_threadsafe(self._families(), self._loop).result(_SCRAPE_SECONDS)

    async def _families(self) -> list[Any]:
        phases: Counter[str] = Counter({"running": 0, "ended": 0, "left": 0})
        jobs: Counter[str] = Counter(dict.fromkeys(_STATES, 0))
        for hosted in self._host.runs.values():
            phases[_phase(hosted)] += 1
            if hosted.loop is not None:
                total = hosted.loop.engine.status(points=False).total
                jobs.update({state: getattr(total, state) for state in _STATES})
        return [
            _gauge("ensemble_runs", "Runs on this server, by phase.", "phase", phases),
            _gauge("ensemble_jobs", "Jobs of the runs that this server has worked on since its start.", "state", jobs),
            _counter("ensemble_events", "Events that are durable, by kind.", "kind", self._host.records),
            _counter("ensemble_commands", "Commands that followed from events, by kind.", "kind", self._host.commands),
            GaugeMetricFamily("ensemble_sessions", "Agents that are connected.", self._acceptor.streams),
            GaugeMetricFamily("ensemble_event_loop_lag_seconds", "Largest recent delay of the event loop.", self._lag),
        ]


_STATES: Final = ("pending", "running", *OUTCOMES)


def _phase(hosted: Hosted) -> str:
    if hosted.busy:
        return "running"
    ended = hosted.result is not None and (hosted.loop is None or hosted.loop.engine.ended is not None)
    return "ended" if ended else "left"


def _gauge(name: str, text: str, label: str, counts: Counter[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key in sorted(counts):
        family.add_metric([key], counts[key])
    return family


def _counter(name: str, text: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key in sorted(counts):
        family.add_metric([key.lower()], counts[key])
    return family
