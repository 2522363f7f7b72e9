"""The member for Slurm, on its ordinary commands: arrays go out, jobs report through a spool directory.

`queue.py` speaks with the controller, `script.py` writes what runs on the nodes, `spool.py` is the directory between
them, `book.py` what is known of each attempt. `submission.py` sends arrays, `reconciliation.py` compares with the
queue, `member.py` joins them. `here.py` tells a login node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.members.slurm.member import SlurmMember

__all__ = ["SlurmMember"]


def __getattr__(name: str) -> Any:
    # the node's reader of figures and the command line import this package for less than the member
    if name == "SlurmMember":
        from ensemble.members.slurm.member import SlurmMember

        return SlurmMember
    raise AttributeError(name)
