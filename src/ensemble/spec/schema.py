"""JSON Schema of ensemble files (draft 2020-12), from the keys that `spec.model` declares.

It admits every spelling that the loader reads (durations with units, a plain pattern as an output) and no unknown key.
What needs the whole file to be seen (names of groups, metric paths) is left to `ensemble check`.
"""

from __future__ import annotations

__all__ = ["OBJECTS", "object_schema", "schema", "schema_of"]

from typing import Any, Final

import msgspec

from ensemble.spec.convert import Failed
from ensemble.spec.keys import Key, keys_of
from ensemble.spec.model import (
    ActionSpec,
    AlgorithmSpec,
    EnsembleSpec,
    GroupSpec,
    LimitsSpec,
    LoggingSpec,
    MemberSpec,
    OutputRule,
    RetrySpec,
    RuleSpec,
)
from ensemble.spec.nodes import tree_of_plain
from ensemble.spec.reader import Reader

OBJECTS: Final[tuple[type, ...]] = (
    GroupSpec,
    RetrySpec,
    OutputRule,
    MemberSpec,
    RuleSpec,
    ActionSpec,
    LimitsSpec,
    LoggingSpec,
    AlgorithmSpec,
)
"""Everything with keys of its own below the ensemble itself."""


def schema() -> dict[str, Any]:
    """Return the schema, plain data for `json.dumps`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://ensemble.flux-framework.org/v1alpha1/ensemble.schema.json",
        **object_schema(EnsembleSpec),
        "title": "Ensemble",
        "$defs": {struct.__name__: object_schema(struct) for struct in OBJECTS},
    }


def object_schema(struct: type) -> dict[str, Any]:
    """Return the schema of one struct as it is written in a file."""
    properties = {}
    for key in keys_of(struct):
        properties[key.name] = schema_of(key)
        for alias in key.aliases:
            properties[alias] = {**key.shape.schema, "description": f"Another word for `{key.name}`."}
    found = {
        "title": struct.__name__,
        "description": struct.__doc__,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    needed = [key.name for key in keys_of(struct) if key.needed]
    return {**found, "required": needed} if needed else found


def schema_of(key: Key) -> dict[str, Any]:
    """Return the schema of the value of one key, with its description and, where it has one, its default."""
    since = f" (Since version {key.since}.)" if key.since else ""
    found = {**key.shape.schema, "description": key.help + since}
    if key.default not in (None, "", {}, [], ()) and _may_be_written(key):
        found["default"] = key.default
    return found


def _may_be_written(key: Key) -> bool:
    """Whether the default could stand in a file; where it could not, it only means that nothing was said."""
    if isinstance(key.default, msgspec.Struct | tuple | dict):
        return False
    try:
        key.shape.read(Reader("", 0), tree_of_plain(key.default), key.name)
    except Failed:
        return False
    return True
