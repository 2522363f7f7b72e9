"""A server from its start to its end: the gRPC services, their health, and the runs that it hosts."""

from __future__ import annotations

__all__ = ["Served", "serving"]

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ensemble.members.remote import ACCEPTOR, Acceptor
from ensemble.model.errors import InputError
from ensemble.service.host import Host
from ensemble.service.limits import Ceilings
from ensemble.service.logs import Log
from ensemble.service.server import EnsemblesService
from ensemble.session.security import Security, bind, options
from ensemble.session.tokens import Verifier
from ensemble.session.v1 import ensembles_pb2, session_pb2
from ensemble.session.v1.ensembles_pb2_grpc import add_EnsemblesServicer_to_server
from ensemble.session.v1.session_pb2_grpc import add_MembersServicer_to_server


class Served(NamedTuple):
    """A server that listens at `address`."""

    address: str
    host: Host
    acceptor: Acceptor


@asynccontextmanager
async def serving(
    address: str, state: Path, ceilings: Ceilings, security: Security, log: Log, verifier: Verifier | None = None
) -> AsyncIterator[Served]:
    """Serve, with every run of the state directory that is not over, until the block is left; then leave the runs.

    Without a `verifier` whoever can connect may ask. Raises `InputError` when another server has the state directory.
    """
    lock = _lock(state)
    acceptor = Acceptor(verifier, fault=lambda name, text: log(name, text))
    ACCEPTOR.set(acceptor)
    host = Host(state, ceilings, log)
    server = aio.server(options=options())
    add_EnsemblesServicer_to_server(EnsemblesService(host, verifier), server)
    add_MembersServicer_to_server(acceptor, server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [
        ensembles_pb2.DESCRIPTOR.services_by_name["Ensembles"].full_name,
        session_pb2.DESCRIPTOR.services_by_name["Members"].full_name,
    ]
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    bound = bind(server, address, security)
    await server.start()
    host.restore()
    for name in ("", *names):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield Served(bound, host, acceptor)
    finally:
        log("stopping", "the runs are left and can be continued")
        await checks.enter_graceful_shutdown()
        await host.stop()
        await acceptor.close()
        await server.stop(1.0)
        os.close(lock)


def _lock(state: Path) -> int:
    """Raises `InputError` when another server has this state directory."""
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(f"another server uses {state}; give this one a --state of its own") from error
    return lock
