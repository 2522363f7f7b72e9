"""Whether this process stands in a Flux instance."""

from __future__ import annotations

__all__ = ["instance"]

import os


def instance() -> str:
    """The address of the Flux instance that this process stands in (`FLUX_URI`), or nothing."""
    return os.environ.get("FLUX_URI", "")
