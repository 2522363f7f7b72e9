"""Addresses, certificates and tokens: what may be listened on, and how a connection is made.

One rule holds for the server and for agents. Whoever connects over TCP shows a token, on loopback too, where other
users of the machine can connect. An address that other machines can reach also needs TLS; the token is sent only after
the certificate of the other side was verified, for gRPC adds call credentials after the handshake. A Unix socket has
mode 0600 and needs neither.
"""

from __future__ import annotations

__all__ = ["Security", "bearer", "bind", "dial", "dial_blocking", "is_local", "needs_token", "options", "target"]

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc import aio

from ensemble.model.errors import InputError
from ensemble.session.limits import MESSAGE_BYTES
from ensemble.session.tokens import read_secret

DEFAULT_PORT: Final = 50051

KEEPALIVE_MS: Final = 20_000
KEEPALIVE_TIMEOUT_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Security:
    """Paths of what a side of a session has: `ca` verifies the other side, `cert` and `key` are its own, and
    `token_file` holds the token that it sends or expects. `server_name`: the name in the other side's certificate,
    where it is not that of the address."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    token_file: str = ""
    server_name: str = ""

    @property
    def tls(self) -> bool:
        """Whether TLS is spoken."""
        return bool(self.ca or self.cert)

    def token(self) -> str:
        """The token, or nothing. Raises `InputError` for a file that others can read, or that is none."""
        return read_secret(self.token_file) if self.token_file else ""


def target(address: str) -> str:
    """An address in gRPC's words: a path is a Unix socket, `:port` every interface. Raises `InputError`."""
    if address.startswith("unix:"):
        return address
    if address.startswith(("/", "./", "../", "~")):
        return "unix:" + os.path.abspath(os.path.expanduser(address))
    host, port = _split(address)
    return f"{host or '[::]'}:{port}"


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = address, str(DEFAULT_PORT)
    if not port.isdecimal() or not int(port) < 65536 or any(c.isspace() or c == "/" for c in host):
        raise InputError(f"{address!r} is not an address; expected HOST:PORT, :PORT or the path of a Unix socket")
    return host, int(port)


def needs_token(address: str) -> bool:
    """Whether whoever connects to an address must show a token: always, but for a Unix socket."""
    return not target(address).startswith("unix:")


def is_local(address: str) -> bool:
    """Whether only this machine can reach it."""
    found = target(address)
    if found.startswith("unix:"):
        return True
    host = found.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def options(extra: Iterable[tuple[str, Any]] = ()) -> list[tuple[str, Any]]:
    """The options of every channel and server: bounded messages, keepalive both ways, no compression."""
    return [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.default_compression_algorithm", grpc.Compression.NoCompression.value),
        ("grpc.enable_http_proxy", 0),
        *extra,
    ]


Metadata = tuple[tuple[str, str], ...]


def dial(address: str, security: Security) -> tuple[aio.Channel, Metadata]:
    """A channel to an address for use with asyncio, and what each call carries. Nothing is connected yet.

    Raises `InputError` for an address beyond this machine without TLS or without a token.
    """
    return _dial(aio, address, security)


def dial_blocking(address: str, security: Security) -> tuple[grpc.Channel, Metadata]:
    """The same for calls that block their thread."""
    return _dial(grpc, address, security)


def _dial(library: Any, address: str, security: Security) -> tuple[Any, Metadata]:
    found, token = target(address), security.token()
    settings = options([("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 5000)])
    if not security.tls:
        if not is_local(address):
            raise InputError(f"{address} is on another machine: give the CA that verifies its certificate, and a token")
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        return library.insecure_channel(found, options=settings), metadata
    if not security.ca:
        raise InputError(f"{address}: a client certificate needs a CA too, which verifies the other side")
    if not is_local(address) and not token:
        raise InputError(f"{address} is on another machine: it needs a token")
    if security.server_name:
        settings.append(("grpc.ssl_target_name_override", security.server_name))
    own = (_read(security.key), _read(security.cert)) if security.cert else (None, None)
    credentials = grpc.ssl_channel_credentials(_read(security.ca), *own)
    if token:
        call = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, call)
    return library.secure_channel(found, credentials, options=settings), ()


def bind(server: aio.Server, address: str, security: Security) -> str:
    """Let a server listen; return the address with its port.

    Raises `InputError` for a TCP address without a token, for one that other machines can reach without TLS, and for
    one that is in use.
    """
    found = target(address)
    if not is_local(address):
        missing = [
            name
            for name, there in (("certificate", security.cert), ("key", security.key), ("token", security.token_file))
            if not there
        ]
        if missing:
            raise InputError(
                f"{address} can be reached from other machines, so it needs TLS and a token, and there is no "
                f"{' and no '.join(missing)}"
            )
    if needs_token(address) and not security.token_file:
        raise InputError(
            f"cannot listen on {address}: a TCP address needs a token (--token-file), because every user of this "
            "machine can connect to it; a Unix socket (unix:PATH) needs none"
        )
    if found.startswith("unix:"):
        return _bind_unix(server, found)
    try:
        if security.cert:
            pair = [(_read(security.key), _read(security.cert))]
            root = _read(security.ca) if security.ca else None
            credentials = grpc.ssl_server_credentials(pair, root, require_client_auth=bool(security.ca))
            bound = server.add_secure_port(found, credentials)
        else:
            bound = server.add_insecure_port(found)
    except RuntimeError as error:
        raise InputError(f"cannot listen on {address}: {_why_not(found)}") from error
    if not bound:
        raise InputError(f"cannot listen on {address}: {_why_not(found)}")
    return f"{found.rpartition(':')[0]}:{bound}"


def _bind_unix(server: aio.Server, found: str) -> str:
    path = found.removeprefix("unix:")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise InputError(f"cannot listen on {path}: a file of that name exists")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                os.unlink(path)  # left by a process that is gone
            else:
                raise InputError(f"cannot listen on {path}: another process listens there")
    # made for its owner alone from its first moment on
    before = os.umask(0o177)
    try:
        server.add_insecure_port(found)
    except RuntimeError as error:
        raise InputError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return found


def _why_not(found: str) -> str:
    host, _, port = found.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return "gRPC gives no reason"
    except (OSError, ValueError) as error:
        return (getattr(error, "strerror", None) or str(error)).lower()


def bearer(metadata: Iterable[tuple[str, Any]] | None) -> str:
    """The token that a call carries, or nothing."""
    for name, value in metadata or ():
        if name == "authorization":
            kind, _, token = str(value).partition(" ")
            return token.strip() if kind.lower() == "bearer" else ""
    return ""


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
