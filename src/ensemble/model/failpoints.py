"""Named places where a test may kill the process, to see what a crash there leaves behind.

`ENSEMBLE_FAILPOINT=name` (or `name:3` for the third time) in the environment arms one; unarmed, a
failpoint costs a comparison.
"""

from __future__ import annotations

__all__ = ["FAILPOINTS", "failpoint"]

import os
import signal
from typing import Final

FAILPOINTS: Final = (
    "journal.segment-created",
    "journal.before-write",
    "journal.mid-write",
    "journal.after-write",
    "journal.after-sync",
    "snapshot.before-rename",
    "snapshot.after-rename",
    "runtime.before-send",
    "runtime.after-send",
    "runtime.before-ack",
    "runtime.after-ack",
    "keeper.before-spawn",
    "keeper.after-spawn",
    "keeper.after-reap",
    "keeper.before-exit-record",
    "keeper.after-exit-record",
    "keeper.before-put",
)
"""Every failpoint there is."""

_armed, _, _turn = os.environ.get("ENSEMBLE_FAILPOINT", "").partition(":")
_left = int(_turn or 1)


def failpoint(name: str) -> None:
    """Kill this process (SIGKILL) if `name` is armed and its turn has come."""
    global _left
    if name == _armed:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def armed(name: str) -> bool:
    """Whether the next `failpoint(name)` kills; for code that must do half of something first."""
    return name == _armed and _left <= 1
