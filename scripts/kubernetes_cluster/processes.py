"""The cluster's processes: each has its command line in a file, so that it can be started again as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubernetes_cluster.layout import Layout
from kubernetes_cluster.words import Failure, until

NODE = "node"
"""The process whose namespaces (process ids, mounts, network) are the real node."""


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
        self._start(words, [], wrapper="")

    def start_in_node(self, *words: str) -> None:
        """Start it in the namespaces of the node, unless it runs."""
        self._start(words, ["nsenter", "--target", str(self._node()), "--pid", "--mount", "--net"], wrapper="nsenter")

    def start_as_node(self, *words: str) -> None:
        """Start it, unless it runs, as the first process of new namespaces: with it ends all that is in them."""
        unshare = ["unshare", "--pid", "--mount", "--net", "--fork", "--mount-proc", "--propagation=slave"]
        self._start(words, unshare, wrapper="unshare")

    def _node(self) -> int:
        pid = Process(self.layout, NODE).pid()
        if pid is None:
            raise Failure("the cluster's real node is not running")
        return pid

    def _start(self, words: tuple[str, ...], prefix: list[str], wrapper: str) -> None:
        if self.alive():
            return
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                [*prefix, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        pid = started.pid
        if wrapper:  # it forks, and stays as the parent of what it starts
            children = Path(f"/proc/{pid}/task/{pid}/children")
            until(lambda: started.poll() is not None or children.read_text(), f"a child of {wrapper}", 30)
            if started.poll() is not None:
                raise Failure(f"{self.name} did not start: {self.last_words()}")
            pid = int(children.read_text().split()[0])
        self._file.write_text(json.dumps({"pid": pid, "born": _born(pid), "words": words, "wrapper": wrapper}))

    def restart(self) -> None:
        """Start it again as it was; raises `Failure` when it never ran."""
        if not self._file.exists():
            raise Failure(f"{self.name} is not part of this cluster")
        known = json.loads(self._file.read_text())
        {"": self.start, "nsenter": self.start_in_node, "unshare": self.start_as_node}[known["wrapper"]](
            *known["words"]
        )

    def pid(self) -> int | None:
        """Its process id while it lives: a number that another process has since been given does not count."""
        if not self._file.exists():
            return None
        known = json.loads(self._file.read_text())
        return known["pid"] if known["born"] and _born(known["pid"]) == known["born"] else None

    def alive(self) -> bool:
        """Whether it runs."""
        return self.pid() is not None

    def until(self, true: Callable[[], object], what: str) -> None:
        """Wait until `true()` holds; raises `Failure` with the end of its log when it has ended before."""
        until(lambda: true() or not self.alive(), what)
        if not self.alive():
            raise Failure(f"{self.name} has ended: {self.last_words()}")

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


def run_in_node(layout: Layout, *words: str) -> str:
    """What a command prints that runs in the namespaces of the node; raises `Failure` with its message."""
    enter = ["nsenter", "--target", str(Process(layout, NODE).pid()), "--pid", "--mount", "--net"]
    done = subprocess.run([*enter, *words], capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise Failure(f"{words[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _born(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; None when it is gone or only waits for its parent."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else after_name[19]
