"""The member for Flux, on its Python bindings: the job manager's journal tells what happens, no polling.

`broker.py` is the thread that speaks with Flux, `jobspec.py` makes a job of a description, `story.py` reads what the
journal says of one, `records.py` is the little that is kept beside the run. `python3 -m ensemble.members.flux` watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.members.flux.member import FluxMember

__all__ = ["FluxMember"]


def __getattr__(name: str) -> Any:
    # the command line asks `here` for less than the member
    if name == "FluxMember":
        from ensemble.members.flux.member import FluxMember

        return FluxMember
    raise AttributeError(name)
