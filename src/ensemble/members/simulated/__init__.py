"""A member in virtual time: jobs take times drawn from a model, on nodes and under a scheduler that are as drawn up.

`SimulatedQueue` is the bare queue that `ensemble simulate` drives; `SimulatedMember` is the same as a live member;
`Recording` is what a recorded run says about its jobs.
"""

from ensemble.members.simulated.jobs import JobShape
from ensemble.members.simulated.member import SimulatedMember
from ensemble.members.simulated.queue import SimulatedQueue
from ensemble.members.simulated.recording import Recording

__all__ = ["JobShape", "Recording", "SimulatedMember", "SimulatedQueue"]
