"""Virtual time: the same engine and the same rules on members whose jobs take times drawn from a model.

`simulate` runs a whole ensemble, `compare` holds the result against a recorded run, `Recording` is what a recorded run
says about its jobs, and `SimulatedMember` is the simulated queue as a member of an ordinary run.
"""

from ensemble.simulation.compare import compare
from ensemble.simulation.member import SimulatedMember
from ensemble.simulation.recording import Recording
from ensemble.simulation.result import SimulationResult
from ensemble.simulation.run import simulate

__all__ = ["Recording", "SimulatedMember", "SimulationResult", "compare", "simulate"]
