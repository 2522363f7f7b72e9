"""The operator's process: leadership, watches, webhook, health and metrics."""

from __future__ import annotations

__all__ = ["OperatorOptions", "operate"]

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, cast

import kopf
from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ensemble.members.kubernetes.api import connect
from ensemble.operator.controller import Controller
from ensemble.operator.lease import Leadership
from ensemble.operator.manifests import Settings
from ensemble.operator.probes import probes
from ensemble.service.logs import Log

LEASE: Final = "ensemble-operator"

SILENCE: Final = 300.0
"""Seconds without a word of any watch after which the operator counts as dead, unless the API server is away too."""

LOOK: Final = 60.0
"""Seconds between two looks whether the API server answers."""


class OperatorOptions(Struct, frozen=True):
    """The options of `ensemble-operator run`."""

    image: str
    kubeconfig: str = ""
    namespace: str = ""
    own_namespace: str = "ensemble-operator-system"
    pull_policy: str = ""
    http: str = ""
    webhook: str = ""
    webhook_host: tuple[str, ...] = ()
    webhook_configuration: str = "ensemble-operator"
    no_lease: bool = False
    log_format: str = "text"


async def operate(options: OperatorOptions, stop: asyncio.Event) -> None:
    """Run until `stop` is set or the Lease is lost. Raises `MemberError` where no cluster can be reached."""
    log = Log(options.log_format, "ensemble-operator")
    if options.kubeconfig:
        # where kopf looks
        os.environ["KUBECONFIG"] = options.kubeconfig
    api = connect(options.kubeconfig, namespace=options.own_namespace)
    controller = Controller(api, Settings(options.image, options.pull_policy), log)
    leadership = Leadership(api, LEASE, f"{socket.gethostname()}-{os.getpid()}", log)
    registry = CollectorRegistry()
    registry.register(_Collector(controller, leadership))
    ProcessCollector(registry=registry)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(api.close)
        if options.webhook:
            from ensemble.operator.webhook import webhook

            await stack.enter_async_context(
                webhook(api, options.webhook, options.webhook_host, options.webhook_configuration, log)
            )
        if options.http:
            where = await stack.enter_async_context(
                probes(options.http, lambda: _dead(controller, leadership), lambda: "", registry)
            )
            log("probes", f"health and metrics on http://{where}")
        if not options.no_lease:
            if not await _unless(stop, leadership.acquire()):
                return
            stack.push_async_callback(leadership.release)
        leadership.leads = True
        await _lead(options, controller, leadership, stop, log)


async def _lead(
    options: OperatorOptions, controller: Controller, leadership: Leadership, stop: asyncio.Event, log: Log
) -> None:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.watching.inactivity_timeout = 90
    settings.watching.server_timeout = 300
    settings.scanning.disabled = True
    log("watching", f"Ensembles of {options.namespace or 'all namespaces'}")
    flag = asyncio.Event()
    tasks = [
        asyncio.create_task(
            kopf.operator(
                registry=controller.registry(),
                settings=settings,
                standalone=True,
                # of no use without peers, and kopf would ask for the user's name, which a pod's user may not have
                identity=cast("Any", socket.gethostname()),
                clusterwide=not options.namespace,
                namespaces=[options.namespace] if options.namespace else [],
                stop_flag=flag,
            ),
            name="kopf",
        ),
        asyncio.create_task(controller.run(), name="controller"),
        asyncio.create_task(_look_around(controller), name="look"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    if not options.no_lease:
        tasks.append(asyncio.create_task(leadership.keep(), name="lease"))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            log("stopping", f"{task.get_name()} ended")
            if task.get_name() != "stop" and not task.cancelled():
                task.result()
    finally:
        flag.set()
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)


async def _unless(stop: asyncio.Event, work: Any) -> bool:
    """Do something unless `stop` comes first; whether it was done."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    if tasks[0] in done:
        tasks[0].result()
    return tasks[0] in done


async def _look_around(controller: Controller) -> None:
    """A cluster without Ensembles says nothing for hours: ask."""
    while True:
        await asyncio.sleep(LOOK)
        with contextlib.suppress(Exception):
            await controller.ask()


def _dead(controller: Controller, leadership: Leadership) -> str:
    silent = time.monotonic() - controller.heard
    return f"no watch has said anything for {silent:.0f} s" if leadership.leads and silent > SILENCE else ""


class _Collector:
    """What Prometheus is told."""

    def __init__(self, controller: Controller, leadership: Leadership) -> None:
        self._controller, self._leadership = controller, leadership

    def describe(self) -> Iterable[Any]:
        """Nothing is known beforehand."""
        return []

    def collect(self) -> Iterable[Any]:
        """The figures of now."""
        phases: Counter[str] = Counter()
        for found in list(self._controller.ensembles.values()):
            phases[str(found.status.get("phase", "Pending"))] += 1
        gauge = GaugeMetricFamily("ensemble_operator_ensembles", "Ensembles by phase.", labels=["phase"])
        for phase, count in sorted(phases.items()):
            gauge.add_metric([phase], count)
        results = CounterMetricFamily(
            "ensemble_operator_reconciliations", "Reconciliations by result.", labels=["result"]
        )
        for result, count in sorted(self._controller.reconciled.items()):
            results.add_metric([result], count)
        yield gauge
        yield results
        yield GaugeMetricFamily(
            "ensemble_operator_queue", "Ensembles that wait to be looked at.", self._controller.depth
        )
        yield GaugeMetricFamily("ensemble_operator_leads", "1 where this one leads.", float(self._leadership.leads))
