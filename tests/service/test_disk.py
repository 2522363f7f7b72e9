"""A server whose disk is full."""

import contextlib
import json
import subprocess
import sys
import time

from tests.disks import disk, fill
from tests.service.world import local, write

MANY = """
name: many
members: {local: {nodes: 1, cores: 2}}
jobs:
  - {name: work, shell: true, count: 30, command: 'echo {key} >> LEDGER && sleep 0.2'}
"""


def test_a_server_whose_disk_is_full_stays_and_loses_no_job(tmp_path, serve):
    ledger = tmp_path / "ledger"
    name = write(tmp_path, MANY.replace("LEDGER", str(ledger)))
    with disk(tmp_path / "state", "8m") as small, ended(serve()) as server:
        assert server.verb("run", "--detach", name).returncode == 0
        wait_for(lambda: ledger.exists() and len(ledger.read_text().split()) > 3)
        filler = fill(small)
        refused = server.verb("run", "--detach", name)
        assert refused.returncode == 2
        assert "No space left" in refused.stderr
        assert "Traceback" not in refused.stderr
        # the journal stops the run, or the keeper says that it can start no job, or record no end, and waits for room
        wait_for(lambda: trouble(server) or "No space left" in server.verb("events", "many-1").stdout)
        filler.unlink()
        if trouble(server):
            # the journal could not be written: the run was left, its jobs were not
            assert "No space left" in trouble(server)
            with subprocess.Popen(
                [sys.executable, "-m", "ensemble", "resume", "--server", server.bound, "many-1"],
                cwd=tmp_path,
                env=server.env,
                stdout=subprocess.DEVNULL,
            ) as resumed:
                assert resumed.wait(120) == 0
        wait_for(lambda: status(server)["outcome"])
        # what found no room for its directory waited for it
        assert (status(server)["outcome"], status(server)["total"]["success"]) == ("success", 30)
        lines = ledger.read_text().split()
        assert len(lines) == len(set(lines)) == 30
        assert local(tmp_path, "verify", "state/runs/many-1").returncode == 0
        assert server.verb("run", "--detach", name).returncode == 0
        wait_for(lambda: status(server, "many-2")["outcome"])


@contextlib.contextmanager
def ended(server):
    """The server, ended before its disk goes."""
    try:
        yield server
    finally:
        assert server.end() == 0


def status(server, run="many-1"):
    return json.loads(server.verb("status", run, "-o", "json").stdout)


def trouble(server):
    """Why the first run was left; empty while it goes on."""
    runs = json.loads(server.verb("list", "-o", "json").stdout)
    return next(run["reason"] for run in runs if run["name"] == "many-1")


def wait_for(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
