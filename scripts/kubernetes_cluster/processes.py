"""The cluster's processes: each has its command line in a file, so that it can be started again as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kubernetes_cluster.layout import Layout
from kubernetes_cluster.words import Failure, until


@dataclass(frozen=True)
class Process:
    """A process of the cluster, by name."""

    layout: Layout
    name: str

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.layout.folder / "logs" / f"{self.name}.log"

    @property
    def _file(self) -> Path:
        return self.layout.folder / "processes" / f"{self.name}.json"

    def start(self, *words: str) -> None:
        """Start it away from our terminal, unless it runs."""
        if self.alive():
            return
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        known = {"pid": started.pid, "born": _born(started.pid), "words": words}
        self._file.write_text(json.dumps(known))

    def restart(self) -> None:
        """Start it again as it was; raises `Failure` when it never ran."""
        if not self._file.exists():
            raise Failure(f"{self.name} is not part of this cluster")
        self.start(*json.loads(self._file.read_text())["words"])

    def pid(self) -> int | None:
        """Its process id while it lives: a number that another process has since been given does not count."""
        if not self._file.exists():
            return None
        known = json.loads(self._file.read_text())
        return known["pid"] if _born(known["pid"]) == known["born"] else None

    def alive(self) -> bool:
        """Whether it runs."""
        return self.pid() is not None

    def end(self, number: int = signal.SIGTERM, patience: float = 5.0) -> None:
        """Send it a signal and wait for its end; after `patience` seconds it is killed."""
        for which, seconds in ((number, patience), (signal.SIGKILL, 30.0)):
            pid = self.pid()
            if pid is None:
                return
            try:
                os.kill(pid, which)
                until(lambda: not self.alive(), f"the end of {self.name}", seconds)
            except ProcessLookupError:
                return
            except Failure:
                continue

    def last_words(self) -> str:
        """The end of its log, for a message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:]) if self.log.exists() else ""


def every(layout: Layout) -> list[Process]:
    """All processes that were started, the latest first."""
    files = sorted((layout.folder / "processes").glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    return [Process(layout, file.stem) for file in files]


def _born(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; None when it is gone or only waits for its parent."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else after_name[19]
