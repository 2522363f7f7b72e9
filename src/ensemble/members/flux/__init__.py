"""The member for Flux. It uses Flux' own Python bindings and learns what happens from the job manager's journal.

`broker.py` is the thread that talks to the Flux broker, `jobspec.py` describes a job to Flux, `job.py` follows one job
through the journal, `records.py` is the little that is kept in the run's directory. `python3 -m ensemble.members.flux`
watches a queue.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.members.flux.member import FluxMember

__all__ = ["FluxMember", "instance"]


def instance() -> str:
    """The address of the Flux instance around this process (`FLUX_URI`), or nothing."""
    return os.environ.get("FLUX_URI", "")


def __getattr__(name: str) -> Any:
    # the command line only asks for `instance`
    if name == "FluxMember":
        from ensemble.members.flux.member import FluxMember

        return FluxMember
    raise AttributeError(name)
