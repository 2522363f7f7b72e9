"""Jobs as processes of this machine, under a keeper that outlives the engine.

`LocalMember` is the engine's end, `keeper` spawns and reaps, `guard` reaps for a keeper that was killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.members.local.member import LocalMember

__all__ = ["LocalMember"]


def __getattr__(name: str) -> Any:
    # Lazily: keeper and guard import this package too, and every run waits for them.
    if name == "LocalMember":
        from ensemble.members.local.member import LocalMember

        return LocalMember
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
