"""People's own code, in worker processes with a time limit.

It can raise, hang, die or return nonsense, and only its rule suffers. `FunctionWorkers` calls functions,
`check_functions` checks before a run that they exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.functions.workers import FunctionWorkers, check_functions

__all__ = ["FunctionWorkers", "check_functions"]


def __getattr__(name: str) -> Any:
    # Lazily, because a worker imports this package too and should start fast.
    if name in __all__:
        from ensemble.functions import workers

        return getattr(workers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
