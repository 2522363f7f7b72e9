"""The pure state machine: events in, records out. No I/O, no clock, no randomness of its own.

`Engine.handle` decides once, live; `Engine.apply` carries out what was decided, on resume.
"""

from ensemble.engine.commands import Batch, Command, Submission
from ensemble.engine.engine import Engine
from ensemble.engine.explain import RuleExplanation, times
from ensemble.engine.status import CellStatus, FailureStatus, MemberStatus, RuleStatus, Status, Summary
from ensemble.engine.view import CellStatistics, EngineView, HeldBack

__all__ = [
    "Batch",
    "CellStatistics",
    "CellStatus",
    "Command",
    "Engine",
    "EngineView",
    "FailureStatus",
    "HeldBack",
    "MemberStatus",
    "RuleExplanation",
    "RuleStatus",
    "Status",
    "Submission",
    "Summary",
    "times",
]
