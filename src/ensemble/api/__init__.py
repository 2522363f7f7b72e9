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
from ensemble.api.running import Run, open_run, resume, runs

__all__ = [
    "Action",
    "Ensemble",
    "Group",
    "Rule",
    "Run",
    "add_rule",
    "avoid",
    "cancel",
    "grow",
    "open_run",
    "resume",
    "runs",
    "scale",
    "shrink",
    "stop",
    "stop_member",
    "submit",
    "switch_algorithm",
    "terminate",
]
