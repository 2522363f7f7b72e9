"""Small ensembles on one simulated member."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from ensemble.runtime.index import find
from ensemble.simulation import simulate
from ensemble.simulation.result import Figures, SimulationResult
from ensemble.spec.loader import loads
from ensemble.spec.model import EnsembleSpec


def spec(text: str, nodes: str = "1", cores: int = 4, options: str = "{}", price: str = "0") -> EnsembleSpec:
    members = (
        f"members: {{m: {{kind: simulated, nodes: {nodes}, cores: {cores}, options: {options}, price: {price}}}}}\n"
    )
    return loads(members + dedent(text))


def one(text: str, seed: int = 0, **machine: Any) -> Figures:
    return simulate(spec(text, **machine), seed=seed, find=find).runs[0]


def checked(given: EnsembleSpec, **options: Any) -> SimulationResult:
    return simulate(given, find=find, **options)
