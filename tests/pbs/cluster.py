"""A stand-in of PBS in a directory of its own; see `standin.py`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ensemble.members.batch.pbs import PbsMember
from ensemble.testing import MemberHarness
from tests.pbs import standin

SERVER = {"max_array_size": 10000, "job_history_enable": "True", "job_history_duration": "336:00:00"}


def make(folder: Path) -> None:
    """Make a queue with four nodes of four cores, and its commands; they become those of this process."""
    (folder / "bin").mkdir(parents=True)
    for name in standin.COMMANDS:
        program = folder / "bin" / name
        program.write_text(f"#!{sys.executable} -S\n" + Path(standin.__file__).read_text())
        program.chmod(0o755)
    nodes = {f"n{number}": {"state": "free", "cores": 4, "comment": ""} for number in range(1, 5)}
    queues = ["workq", "short"]
    state = {
        "next": 1,
        "most": 100_000,
        "scheduler": 0,
        "tasks": {},
        "nodes": nodes,
        "queues": queues,
        "server": SERVER,
    }
    (folder / "queue.json").write_text(json.dumps(state))
    os.environ["QUEUE_STANDIN"] = str(folder)
    os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def changing(folder: Path) -> Iterator[dict[str, Any]]:
    """The state of the queue, to be changed."""
    standin.FOLDER = folder
    with standin.queue() as state:
        yield state


def remove(folder: Path) -> None:
    """End its jobs and its scheduler."""
    with changing(folder) as state:
        left = [task["pid"] for task in state["tasks"].values() if task["pid"]]
        scheduler = state["scheduler"]
    (folder / "queue.json").unlink()
    for pid in left:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while scheduler and Path(f"/proc/{scheduler}").exists() and not is_zombie(scheduler):
        time.sleep(0.02)
    os.environ.pop("QUEUE_STANDIN", None)
    os.environ["PATH"] = os.environ["PATH"].removeprefix(f"{folder / 'bin'}{os.pathsep}")
    shutil.rmtree(folder, ignore_errors=True)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def pbs(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


class PbsHarness(MemberHarness):
    patience = 60.0
    burst = 50

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.queue = folder.with_name(folder.name + "-pbs")
        make(self.queue)

    def member(self) -> PbsMember:
        return PbsMember()

    def options(self) -> dict[str, Any]:
        return {"poll": 0.5, "settle": 1.0}

    async def cancel_outside(self, native_id: str) -> None:
        await asyncio.to_thread(pbs, "qdel", native_id)

    async def clean_up(self) -> None:
        remove(self.queue)
