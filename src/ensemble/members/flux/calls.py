"""What is asked of Flux: each a call that returns a Flux future, and what its answer is read with."""

from __future__ import annotations

__all__ = [
    "Asked",
    "cancel",
    "drain",
    "feasible",
    "kill",
    "output",
    "ping",
    "queue",
    "ranks",
    "rpc",
    "sizes",
    "submit",
    "undrain",
    "urgency",
]

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

Asked = tuple[Callable[[Any], Any], Callable[[Any], Any] | None]
"""Called with the handle; and with the future that came of it, once it is fulfilled (None: only whether it failed)."""


def submit(text: bytes) -> Asked:
    """Submit a jobspec, held. Answers the job's id."""
    job = import_module("flux.job")
    return lambda handle: job.submit_async(handle, text.decode(), urgency=0), lambda future: int(
        job.submit_get_id(future)
    )


def kill(number: int, signal: int) -> Asked:
    """Send a signal to all tasks of a running job."""
    job = import_module("flux.job")
    return lambda handle: job.kill_async(handle, number, signal), None


def cancel(number: int, why: str = "") -> Asked:
    """End a job, in whatever state."""
    job = import_module("flux.job")
    return lambda handle: job.cancel_async(handle, number, why or None), None


def urgency(number: int, wanted: int) -> Asked:
    """Change a job's urgency; from 0 to another lets it go."""
    return rpc("job-manager.urgency", {"id": number, "urgency": wanted})


def rpc(topic: str, payload: dict[str, Any] | None = None) -> Asked:
    """A request whose answer says only that it was done."""
    return lambda handle: handle.rpc(topic, payload or {}), None


def feasible(jobspec: dict[str, Any]) -> Asked:
    """Whether the scheduler could ever run it."""
    return rpc("feasibility.check", {"jobspec": jobspec})


def sizes() -> Asked:
    """All, allocated and down resources, as text."""
    return lambda handle: handle.rpc("sched.resource-status"), lambda future: future.get_str()


def ranks() -> Asked:
    """Which brokers are online, and which are drained, as text."""
    return lambda handle: handle.rpc("resource.status", {}, 0), lambda future: future.get_str()


def drain(targets: Iterable[int], reason: str) -> Asked:
    """Let brokers take no more jobs."""
    payload = {"targets": ",".join(map(str, sorted(targets))), "reason": reason}
    return lambda handle: handle.rpc("resource.drain", payload, 0), None


def undrain(targets: Iterable[int]) -> Asked:
    """Let brokers take jobs again."""
    payload = {"targets": ",".join(map(str, sorted(targets)))}
    return lambda handle: handle.rpc("resource.undrain", payload, 0), None


def output(number: int) -> Asked:
    """The eventlog of what a job has written, as text."""
    payload = {"id": number, "keys": ["guest.output"], "flags": 0}
    return lambda handle: handle.rpc("job-info.lookup", payload, 0), lambda future: str(future.get()["guest.output"])


def queue(name: str) -> Asked:
    """Whether a queue (empty: the only one) takes and starts jobs; `stop_reason` says why not, where that was said."""
    payload = {"name": name} if name else {}
    return lambda handle: handle.rpc("job-manager.queue-status", payload), lambda future: future.get()


def ping() -> Asked:
    """A request that the job manager answers at once."""
    return rpc("job-manager.ping", {"seq": 0})
