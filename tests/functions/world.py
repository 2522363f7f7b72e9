"""What the tests of functions share: what a function is given, and how to wait for the end of a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.model.events import FunctionReturned

Call = Callable[..., FunctionReturned]

ARGS: dict[str, Any] = {
    "metrics": {
        "mean": {"sleep": {"duration": 1.5, "pending": 0.25}, "a.b": {"duration": 7.0}},
        "count": {"sleep": {"success": 3}},
        "points": {"sleep": [{"values": {"T": 1.0}}]},
    },
    "event": {"type": "job", "key": "sleep-3"},
    "rule": {"trigger": "metric", "action": {"name": "custom", "label": "f"}},
    "action": {"name": "custom", "label": "f", "options": {"depth": 2}, "parameters": {"T": [1]}},
    "binding": {"T": 1.1},
    "now": 12.5,
}


def as_it_is(result: dict[str, Any]) -> dict[str, Any]:
    return result


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"process {pid} is still there")
