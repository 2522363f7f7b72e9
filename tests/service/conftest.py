"""A server that does not outlive its test."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.service.world import Server


@pytest.fixture
def serve(tmp_path):
    servers = []

    def make(*options, address=""):
        servers.append(Server(tmp_path, *options, address=address))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            server.end()
    clear(tmp_path)


def clear(where):
    """End what a test that failed left behind: keepers below `where`, then their jobs."""
    while left := [*_left(where)]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _left(where):
    below = os.fsencode(where) + b"/"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            keeper = b"ensemble.members.local" in words and below in words
            if keeper or (words and os.fsencode(os.readlink(folder / "cwd")).startswith(below)):
                yield int(folder.name)
