"""Python's own kinds of values as plain data."""

from __future__ import annotations

__all__ = ["is_group", "plain"]

import os
from collections.abc import Mapping, Sequence
from typing import Any


def is_group(value: Any) -> bool:
    """Whether it is a `Group`, whose text is its name."""
    return hasattr(value, "__ensemble_name__")


def plain(value: Any) -> Any:
    """The same with tuples and ranges as lists, paths and groups as text, NumPy's numbers and arrays as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike) or is_group(value):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (Sequence, range)):
        return [plain(inner) for inner in value]
    return value
