"""The pure state machine: events in, records out. No I/O, no clock, no randomness of its own.

`Engine.handle` decides once, live; `Engine.apply` carries out what was decided, on resume.
"""

from ensemble.engine.engine import Command, Engine
from ensemble.engine.explain import RuleExplanation, times
from ensemble.engine.status import CellStatus, FailureStatus, MemberStatus, RuleStatus, Status, Summary

__all__ = [
    "CellStatus",
    "Command",
    "Engine",
    "FailureStatus",
    "MemberStatus",
    "RuleExplanation",
    "RuleStatus",
    "Status",
    "Summary",
    "times",
]
