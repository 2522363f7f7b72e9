"""The keeper's side of its connection: one engine, the newest; events are kept until it has acknowledged them."""

from __future__ import annotations

__all__ = ["Channel"]

import contextlib
import os
import selectors
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from ensemble.members.local.wire import Frames, encode_frame
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.failpoints import failpoint

FRAME_EVENTS: Final = 512
WINDOW_EVENTS: Final = 16384
"""How many events may be on their way unacknowledged: they wait with the engine, so that answers pass them."""
LINGER_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 0.002
"""Between two frames of events, at least."""


class Channel:
    """Listens on a Unix socket; hands each message of the engine to the handler of its name."""

    def __init__(self, selector: selectors.BaseSelector, handlers: Mapping[str, Callable[[list[Any]], None]]) -> None:
        self._selector = selector
        self._handlers = handlers
        self.epoch = 0
        """The epoch of the newest engine so far; one with a lower epoch is refused."""
        self.idle_since = time.monotonic()
        self._n = 0
        self._outbox: deque[JobEvent | MemberEvent] = deque()
        """Events the engine has not acknowledged; the first `_sent` of them were sent on this connection."""
        self._sent = 0
        self._client: socket.socket | None = None
        self._frames = Frames()
        self._out = bytearray()
        self._flushed = 0.0

    # ---- life --------------------------------------------------------------------------------------

    def listen(self, address: Path, stream: str) -> None:
        """Start to listen; write the socket's path, the stream's name and our pid into the file `address`."""
        # a socket's path may have 107 bytes: run directories are often longer
        self._socket_path = os.path.join(tempfile.mkdtemp(prefix="ensemble-"), "s")
        server = socket.socket(socket.AF_UNIX)
        server.bind(self._socket_path)
        os.chmod(self._socket_path, 0o600)
        server.listen(4)
        server.setblocking(False)
        self._server = server
        self._selector.register(server, selectors.EVENT_READ, self._accept)
        self._address = address
        fresh = address.with_suffix(f".{os.getpid()}")
        fresh.write_text(f"{self._socket_path}\n{stream}\n{os.getpid()}\n")
        fresh.rename(address)

    def close(self) -> None:
        """Stop listening. Waits for the engine to close its end, `LINGER_SECONDS` at most."""
        with contextlib.suppress(OSError):
            self._address.unlink()
            Path(self._socket_path).unlink()
            os.rmdir(os.path.dirname(self._socket_path))
        client = self._client
        if client is not None:
            # an acknowledgement that comes to a closed socket resets the connection, and what the engine has not read
            # yet is lost with it: so only our half is closed first
            until = time.monotonic() + LINGER_SECONDS
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
                client.settimeout(LINGER_SECONDS)
                while time.monotonic() < until and client.recv(1 << 16):
                    pass
            self._drop(client)

    @property
    def connected(self) -> bool:
        """Whether an engine is there."""
        return self._client is not None

    @property
    def delivered(self) -> bool:
        """Whether every event has been sent, or no engine is connected."""
        return self._client is None or (self._sent == len(self._outbox) and not self._out)

    def due(self) -> float:
        """When (monotonic seconds) the next frame of events may go; infinity when there is none to send."""
        if self._client is not None and self._sent < min(len(self._outbox), WINDOW_EVENTS):
            return self._flushed + FLUSH_SECONDS
        return float("inf")

    # ---- in ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.setblocking(False)
        pending = Frames()

        def first() -> None:
            try:
                data = connection.recv(1 << 16)
                messages = pending.feed(data)
            except (OSError, ValueError):
                data, messages = b"", []
            if not data:
                self._drop(connection)
                return
            if not messages:
                return
            hello = messages[0]
            if hello[0] != "hello" or hello[1]["epoch"] < self.epoch:
                refusal = encode_frame(["refused", f"a newer engine (epoch {self.epoch}) is connected to this keeper"])
                with contextlib.suppress(OSError):
                    connection.sendall(refusal)
                self._drop(connection)
                return
            if self._client is not None:
                self._drop(self._client)
            self.epoch = hello[1]["epoch"]
            self._client = connection
            self._frames = pending
            self._out = bytearray()
            self._sent = 0
            self._selector.modify(connection, selectors.EVENT_READ, self._readable)
            self._handle(messages)

        self._selector.register(connection, selectors.EVENT_READ, first)

    def _drop(self, connection: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        connection.close()
        if connection is self._client:
            self._client = None
            self.idle_since = time.monotonic()

    def _readable(self) -> None:
        connection = self._client
        if connection is None:
            return
        try:
            data = connection.recv(1 << 20)
            messages = self._frames.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data, messages = b"", []
        if not data:
            self._drop(connection)
            return
        self._handle(messages)

    def _handle(self, messages: list[Any]) -> None:
        for message in messages:
            self._handlers[message[0]](message)

    def acknowledged(self, position: int) -> None:
        """The engine has everything up to event number `position` durably."""
        while self._outbox and self._outbox[0].n <= position:
            self._outbox.popleft()
            self._sent = max(0, self._sent - 1)

    # ---- out ---------------------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Answer the engine, ahead of all events that wait."""
        self._out += encode_frame(message)

    def put(self, event: JobEvent | MemberEvent) -> None:
        """Number an event and keep it until it is acknowledged."""
        self._n += 1
        self._outbox.append(msgspec.structs.replace(event, n=self._n))

    def flush(self) -> None:
        """Send as much as the socket takes."""
        client = self._client
        if client is None:
            return
        now = time.monotonic()
        if not self._out and now < self._flushed + FLUSH_SECONDS:
            # under load many events go in one frame; an answer never waits
            return
        self._flushed = now
        while self._sent < min(len(self._outbox), WINDOW_EVENTS) and len(self._out) < 1 << 20:
            batch = list(islice(self._outbox, self._sent, self._sent + FRAME_EVENTS))
            self._sent += len(batch)
            failpoint("keeper.before-put")
            self.send(["events", batch])
        if not self._out:
            return
        try:
            gone = client.send(self._out)
            del self._out[:gone]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if self._selector.get_key(client).events != wanted:
            self._selector.modify(client, wanted, self._readable)
