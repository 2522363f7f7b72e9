"""People's own code, in worker processes with a time limit: it can raise, hang or die, and only its rule suffers."""

from ensemble.functions.workers import FunctionWorkers

__all__ = ["FunctionWorkers"]
