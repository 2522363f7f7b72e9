"""Packaged rule sets: what an ensemble file names under `algorithm`.

Each is one file: its options, the rules it consists of, and the pure steps those rules take. A third party's is found
through the entry point group `ensemble.algorithms`; `Packaged` is the base to build one on.
"""

from typing import Final

from ensemble.algorithms.cost_selection import CostSelection
from ensemble.algorithms.packaged import Packaged, Settings
from ensemble.algorithms.random_selection import RandomSelection
from ensemble.algorithms.select_fastest_runtime import SelectFastestRuntime
from ensemble.algorithms.select_longest_runtime import SelectLongestRuntime
from ensemble.algorithms.successive_halving import SuccessiveHalving
from ensemble.algorithms.workload_demand import WorkloadDemand
from ensemble.algorithms.workload_success import WorkloadSuccess
from ensemble.engine.algorithm import Algorithm

__all__ = [
    "BUILTIN",
    "CostSelection",
    "Packaged",
    "RandomSelection",
    "SelectFastestRuntime",
    "SelectLongestRuntime",
    "Settings",
    "SuccessiveHalving",
    "WorkloadDemand",
    "WorkloadSuccess",
]

_ALL: Final[tuple[Algorithm, ...]] = (
    WorkloadDemand(),
    RandomSelection(),
    WorkloadSuccess(),
    SelectFastestRuntime(),
    SelectLongestRuntime(),
    CostSelection(),
    SuccessiveHalving(),
)

BUILTIN: Final[dict[str, Algorithm]] = {algorithm.name: algorithm for algorithm in _ALL}
"""The algorithms that come with this package, by name."""
