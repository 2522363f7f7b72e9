"""The words of the file format, each with the sentence that explains it: triggers, counts, quantities.

The reader, the JSON Schema, the hints for misspelt words and `docs/reference.md` all take them from here.
"""

from __future__ import annotations

from typing import Final

from ensemble.model.jobs import STATES

JOB_TRIGGERS: Final = {
    "job-depend": "A job of the group waits for other jobs in the queue.",
    "job-sched": "A job waits for resources.",
    "job-run": "A job has begun to run.",
    "job-cancel": "A job was cancelled.",
    "job-cleanup": "A job is being cleaned up.",
    "job-finish": "A job is over, however it ended.",
    "job-success": "A job ended with exit code 0 and, where the group has one, a true `valid`.",
    "job-fail": "A job failed, after its last attempt.",
    "job-retry": "A job is tried again after a failed attempt.",
}

TRIGGERS: Final = {
    "start": "Once, when the run starts.",
    "interval": "Every `seconds`, for as long as anything else is open; it does not keep the run alive.",
    "metric": "When a value that its condition reads has changed and the condition is true.",
    "idle": "When nothing runs and nothing waits, before the run ends.",
    **JOB_TRIGGERS,
}

MEMBER_EVENTS: Final = {
    "open": "is ready",
    "up": "can be reached again",
    "down": "cannot be reached",
    "nodes": "changed its size",
    "provisioning": "waits for nodes that are on their way",
    "resize-failed": "did not get the size that it was asked for, and stays at what it has",
    "inventory": "reported what it consists of",
    "closed": "takes no more jobs",
    "gone": "was given up",
    "fault": "reported a problem",
}
"""What may follow `member-` in a trigger."""

FLUX_TRIGGERS: Final = {
    "job-inactive": "job-finish",
    **{
        f"job-{event}": f"job-native-{event}"
        for event in (
            *("submit", "alloc", "start", "release", "free", "clean"),
            *("priority", "urgency", "validate", "exception", "annotations"),
        )
    },
}
"""Flux' own events (RFC 21) as ensemble-python spells them, and the trigger each stands for."""

QUANTITIES: Final = {
    "duration": "seconds from the start to the end of a job",
    "pending": "seconds from the submission to the start of a job; a waiting job counts once, with its present age",
    "node_hours": "node-hours that a job took",
    "cost": "the price of these node-hours",
}
"""What every group measures without `outputs`."""

MEMBER_METRICS: Final = {
    "nodes": ("up", "free"),
    "cores": ("up", "free"),
    "queue": ("depend", "sched", "run", "cleanup", "inactive"),
}
"""`nodes.free` is that of the only member, `nodes.<member>.free` that of a named one."""

CANCELLABLE: Final = (*STATES[:-1], "pending", "running", "active")
"""States that `cancel` may be narrowed to."""

LAUNCHERS: Final = ("auto", "none", "mpiexec", "srun", "flux")
TAKES: Final = ("first", "last", "min", "max", "mean", "sum", "count")
