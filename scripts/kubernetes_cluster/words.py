"""What every part of the script says to a person, and how it waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Failure(Exception):
    """The cluster cannot be had; the message tells the person why."""


def say(message: str) -> None:
    """Tell the person what happens; standard output is kept for what a shell evaluates."""
    print(f"kubernetes-cluster: {message}", file=sys.stderr, flush=True)


def until(true: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Wait until `true()` holds; raise `Failure` that names `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise Failure(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.1)
