"""A real registry for the tests: Debian's docker-registry, as a process of the test that wants it."""

from __future__ import annotations

import functools
import json
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from tests.debian import install


@functools.cache
def program() -> str:
    """Where docker-registry is; it is installed where it is missing."""
    why_not = install({"docker-registry": "docker-registry"})
    assert not why_not, why_not
    found = shutil.which("docker-registry")
    assert found, "the package docker-registry holds no program of this name"
    return found


class Registry:
    """A registry on a port of this machine, at one of its addresses; what it holds outlives a restart."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", **settings: object) -> None:
        self.folder, self.settings = folder, settings
        self.host = f"{address}:0"
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        storage = {"filesystem": {"rootdirectory": str(self.folder)}, "delete": {"enabled": True}}
        config = {
            "version": "0.1",
            "storage": storage,
            "http": {"addr": self.host, "secret": "of this test"},
            **self.settings,
        }
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            json.dump(config, file)
            file.flush()
            self.process = subprocess.Popen(
                [program(), "serve", file.name], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
            )
            assert self.process.stderr is not None
            for line in self.process.stderr:
                if found := re.search(r"listening on ([0-9.]+:\d+)", line):
                    self.host = found[1]
                    break
            else:
                raise AssertionError("the registry ended before it listened")
        # a pipe that nobody empties would stop it
        self._drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process.stderr.close()
            self._drain.wait()
            self.process = None

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, by the registry's own word."""
        with urllib.request.urlopen(f"http://{self.host}/v2/{repository}/tags/list") as answer:
            return sorted(json.load(answer)["tags"] or [])

    def blobs(self) -> list[Path]:
        """The files that hold its blobs and manifests."""
        return sorted(self.folder.glob("docker/registry/v2/blobs/sha256/*/*/data"))
