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
    """End what a test that failed left behind: keepers below `where`, and their jobs."""
    parents, kept = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes()
            if b"ensemble.members.local" in words and os.fsencode(where) + b"/" in words:
                kept.add(int(folder.name))
    # the guard first: it would look after its keeper
    for pid in sorted(kept):
        jobs = [child for child, parent in parents.items() if parent == pid and child not in kept]
        for one in (pid, *jobs):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
