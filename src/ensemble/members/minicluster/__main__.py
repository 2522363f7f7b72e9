"""`python3 -m ensemble.members.minicluster`: watch the queue of the MiniCluster that this pod belongs to."""

from __future__ import annotations

from ensemble.members.flux.__main__ import main
from ensemble.members.minicluster.view import enter, socket_of

if __name__ == "__main__":
    enter()
    main("python3 -m ensemble.members.minicluster", socket_of() or None)
