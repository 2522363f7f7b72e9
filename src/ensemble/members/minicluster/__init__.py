"""The member for a Flux Operator MiniCluster: the Flux member in a pod beside the broker, found in the shared view.

It runs in the agent: it reports sizes, and asks for another size through the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.members.minicluster.member import MiniClusterMember

__all__ = ["MiniClusterMember"]


def __getattr__(name: str) -> Any:
    if name == "MiniClusterMember":
        from ensemble.members.minicluster.member import MiniClusterMember

        return MiniClusterMember
    raise AttributeError(name)
