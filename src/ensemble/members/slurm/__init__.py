"""The member for Slurm, on its ordinary commands: arrays go out, jobs report through a spool directory.

`queue.py` speaks with the controller, `script.py` writes what runs on the nodes, `spool.py` keeps what is known.
"""

from ensemble.members.slurm.member import SlurmMember

__all__ = ["SlurmMember"]
