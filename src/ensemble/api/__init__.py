"""Ensembles in a few lines of Python, of equal rank with the file.

`Ensemble` takes groups and rules and runs them; `Run` is a run that goes on or is over; `actions` are what rules do.
"""

from ensemble.api.actions import (
    Action,
    Rule,
    add_rule,
    avoid,
    cancel,
    grow,
    scale,
    shrink,
    stop,
    stop_member,
    submit,
    switch_algorithm,
    terminate,
)
from ensemble.api.building import Ensemble, Group
from ensemble.api.jobs import Job
from ensemble.api.running import Run, list_runs, open_run, resume

__all__ = [
    "Action",
    "Ensemble",
    "Group",
    "Job",
    "Rule",
    "Run",
    "add_rule",
    "avoid",
    "cancel",
    "grow",
    "list_runs",
    "open_run",
    "resume",
    "scale",
    "shrink",
    "stop",
    "stop_member",
    "submit",
    "switch_algorithm",
    "terminate",
]
