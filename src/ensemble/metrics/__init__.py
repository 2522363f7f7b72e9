"""Streaming statistics: what rules read.

Pure, deterministic to the last bit on every platform and Python, and constant in memory: `Series` for values that
are final, `PendingSeries` for waits, of which some are not over. Imports nothing but the standard library's `math`.
"""

from ensemble.metrics.series import EWMA_WEIGHT, Series
from ensemble.metrics.sketch import RELATIVE_ERROR, Sketch
from ensemble.metrics.statistics import STATISTICS, Moments, Statistic, Values, register
from ensemble.metrics.student import student_975
from ensemble.metrics.waiting import PendingSeries, Waiting

__all__ = [
    "EWMA_WEIGHT",
    "RELATIVE_ERROR",
    "STATISTICS",
    "Moments",
    "PendingSeries",
    "Series",
    "Sketch",
    "Statistic",
    "Values",
    "Waiting",
    "register",
    "student_975",
]
