"""Jobs as processes of this machine, under a keeper that outlives the engine.

`LocalMember` is the engine's end, `keeper` spawns and reaps, `guard` reaps for a keeper that was killed.
"""

from ensemble.members.local.member import LocalMember

__all__ = ["LocalMember"]
