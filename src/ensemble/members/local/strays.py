"""Processes that a job started and left behind: they are found below the keeper and ended."""

from __future__ import annotations

__all__ = ["end_strays"]

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from typing import Final

from ensemble.members.local.guard import children_of, stat_of
from ensemble.members.local.recovery import TICKS, Ref, ref_of_process
from ensemble.members.local.running import Running

SLACK_SECONDS: Final = 2.0
"""The start of a job is noted that much late at most, on a machine that is loaded."""


def end_strays(run_dir: str, running: Mapping[int, Running], refs: Mapping[Ref, int], others: Iterable[int]) -> bool:
    """End the children of this process, and of the guards (`others`), that outlived their job; true if there were any.

    `running` has the jobs that run by pid, `refs` their pids by attempt. The keeper is a child subreaper: whatever a
    job started, in whichever session, becomes its child when the process between them ends. Whose it is its environment
    says. One without that mark was started by one of the jobs that ran when it began: it is ended when none of them
    runs any more. What comes to light when it ends is found by the next call.
    """
    found = False
    for pid in (*children_of(os.getpid()), *others):
        if pid in running:
            continue
        fields = stat_of(pid)
        if not fields or fields[0] in "ZX":
            continue
        ref = ref_of_process(pid, run_dir)
        if ref in refs if ref is not None else _may_be_of_a_job(int(fields[19]) / TICKS, running):
            continue
        found = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found


def _may_be_of_a_job(began: float, running: Mapping[int, Running]) -> bool:
    """Whether one of the jobs that run was there at that time (seconds since boot)."""
    return any(job.began <= began + SLACK_SECONDS for job in running.values())
