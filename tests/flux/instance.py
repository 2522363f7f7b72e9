"""A real Flux instance of two brokers for the tests: started once for a session, ended with it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ensemble.members.flux.bindings import load
from ensemble.model.errors import MemberUnavailable
from tests.conftest import AT_THE_END

AS_LONG_AS_WE = f"tail --pid={os.getpid()} -f /dev/null"
"""The program of an instance ends when the tests do, also when they are killed, and with it the instance."""

_found: list[Instance] = []


class Instance:
    """`flux start` with `size` brokers on this machine."""

    def __init__(self, size: int = 2, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ensemble-flux-"))
        told = self.folder / "uri"
        script = f'echo "$FLUX_URI" > {told}.new && mv {told}.new {told} && exec {AS_LONG_AS_WE}'
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(
                ["flux", "start", f"--test-size={size}", *options, "/bin/sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # bash takes the broker's start scripts for those of a remote shell and reads ~/.bashrc, which may wait
                # for what one that we killed has left locked; within another shell it does not
                env={**os.environ, "SHLVL": "2"},
            )
        until = time.monotonic() + 60
        while not told.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                self._all("KILL")
                raise OSError((self.folder / "log").read_text().strip() or "flux start did not come up")
            time.sleep(0.02)
        self.uri = told.read_text().strip()

    def run(self, *words: str) -> str:
        """What a `flux` command prints in it."""
        done = subprocess.run(
            ["flux", *words],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "FLUX_URI": self.uri},
        )
        return done.stdout

    def kill(self) -> None:
        """End its brokers without mercy, as a node that dies."""
        self._all("KILL", "-x", "flux-broker.*")
        self.process.kill()
        self.process.wait()

    def halt(self) -> None:
        """Have its brokers do nothing, as on a node that swaps, until `go_on`."""
        self._all("STOP", "-x", "flux-broker.*")

    def go_on(self) -> None:
        """Let its brokers work again."""
        self._all("CONT", "-x", "flux-broker.*")

    def _all(self, name: str, *which: str) -> None:
        """Send a signal to its processes."""
        subprocess.run(["pkill", f"-{name}", "-s", str(self.process.pid), *which], check=False)

    def end(self) -> None:
        """Have it end as it does when its program has."""
        self._all("TERM", "-f", AS_LONG_AS_WE)

    def stop(self) -> None:
        """End it and all its jobs."""
        self.end()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._all("KILL")
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def missing() -> str:
    """Start the instance of this session; why there is none, or nothing."""
    if shutil.which("flux") is None:
        return "no Flux here: `flux` is not on PATH"
    try:
        load()
        _found.append(Instance())
    except (MemberUnavailable, OSError) as error:
        return f"no Flux here: {error}"
    AT_THE_END.callback(_found[0].stop)
    return ""


def session() -> Instance:
    """The session's instance; `missing` has been asked."""
    return _found[0]


def leave() -> None:
    """End the jobs that a test left behind."""
    _found[0].run("cancel", "--all")
