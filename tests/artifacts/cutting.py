"""A way to a registry that breaks where a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Cutting:
    """Passes connections on to a registry, and breaks those whose request begins as `cut` says.

    `cut` is the beginning of a request line and `after` the bytes that still go through; each of `times` is used once.
    """

    def __init__(self, host: str) -> None:
        address, port = host.rsplit(":", 1)
        self._to = (address, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut, self.after, self.times = b"", 0, 0
        self.seen: list[bytes] = []
        """The first line of each request that went through."""
        self.sent: dict[bytes, int] = {}
        """Bytes that went through, by the method of the request."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._to) as server:
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()
            method, left = b"", -1
            while data := client.recv(65536):
                words = data.split(b" ", 2)
                if words[0] in (b"GET", b"HEAD", b"POST", b"PATCH", b"PUT") and len(words) > 2:
                    method = words[0]
                    self.seen.append(data.partition(b"\r\n")[0])
                    left = -1
                    if self.cut and data.startswith(self.cut) and self.times:
                        self.times -= 1
                        left = self.after
                if left >= 0:
                    data = data[:left]
                    left -= len(data)
                self.sent[method] = self.sent.get(method, 0) + len(data)
                server.sendall(data)
                if left == 0:
                    return

    @staticmethod
    def _back(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutting(host: str) -> Iterator[Cutting]:
    """Such a way, for the time of the block."""
    one = Cutting(host)
    try:
        yield one
    finally:
        one.close()
