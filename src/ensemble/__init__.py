"""Ensemble: many HPC jobs, steered while they run by rules that react to the jobs' own events.

    from ensemble import Ensemble

Everything public is here and is imported when it is first used; `docs/python-api.md` shows it at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.api import (
        Action,
        Ensemble,
        Group,
        Job,
        Rule,
        Run,
        add_rule,
        avoid,
        cancel,
        grow,
        list_runs,
        open_run,
        resume,
        scale,
        shrink,
        stop,
        stop_member,
        submit,
        switch_algorithm,
        terminate,
    )
    from ensemble.model.errors import EnsembleError, InputError, Refused, SpecError, UnknownRun

__version__ = "0.2.0"

__all__ = [
    "Action",
    "Ensemble",
    "EnsembleError",
    "Group",
    "InputError",
    "Job",
    "Refused",
    "Rule",
    "Run",
    "SpecError",
    "UnknownRun",
    "__version__",
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


def __getattr__(name: str) -> Any:
    # Lazily: `ensemble --help` and the keeper must not pay for what they do not use.
    if name in __all__:
        from importlib import import_module

        errors = name.endswith("Error") or name in ("Refused", "UnknownRun")
        where = "ensemble.model.errors" if errors else "ensemble.api"
        return getattr(import_module(where), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
