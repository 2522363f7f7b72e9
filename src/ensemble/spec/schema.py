"""JSON Schema of ensemble files (draft 2020-12), from the same structs that the loader converts to.

It admits every spelling that the loader reads (durations with units, a plain pattern as an output) and no unknown key.
What needs the whole file to be seen (names of groups, metric paths) is left to `ensemble check`.
"""

from __future__ import annotations

__all__ = ["schema"]

from typing import Any, Final

import msgspec

from ensemble.model.jobs import REASONS, STATES
from ensemble.spec.actions import action_names
from ensemble.spec.model import EnsembleSpec
from ensemble.spec.reader import LAUNCHERS, MEMBER_TRIGGERS, TAKES, TRIGGERS

_HIDDEN: Final = {
    "GroupSpec": ("points", "axes"),
    "ActionSpec": ("points",),
    "EnsembleSpec": ("directory",),
    "MemberSpec": ("currency",),
}
"""Fields that the loader works out and no file holds."""

_REQUIRED: Final = {
    "EnsembleSpec": ("jobs",),
    "GroupSpec": ("name", "command"),
    "RuleSpec": ("trigger", "action"),
    "ActionSpec": ("name",),
    "AlgorithmSpec": ("name",),
}

_NUMBER: Final = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_UNIT: Final = (
    "(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?"
    "|S|Secs?|Seconds?|M|Mins?|Minutes?|H|Hrs?|Hours?|D|Days?)"
)
_CLOCK: Final = r"([0-9]{1,5}-)?[0-9]{1,6}:[0-5][0-9]:[0-5][0-9]"

TEXT: Final = {"type": ["string", "number", "boolean"]}
"""Text: a number or truth value is taken as it was written."""
NAME: Final = {"type": ["string", "integer"], "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength": 100}
DURATION: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*({_NUMBER}|(\s*{_NUMBER}\s*{_UNIT}\s*)+|{_CLOCK})\s*$"},
    ],
    "examples": ["90s", "20m", "1h30m", "0:20:00"],
}
PRICE: Final = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*([A-Z]{{3}})?\s*(/\s*(node-?)?(hour|hr|h))?\s*$"},
    ],
    "examples": ["0.41 USD/node-hour"],
}
ABOVE_ZERO: Final = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": rf"^\s*\+?{_NUMBER}(\s.*)?$"},
    ]
}
PLACEHOLDER: Final = {"type": "string", "pattern": r"\{.*\}", "examples": ["{N * 32}"]}
_OBJECT: Final = {"type": "object"}
_REF: Final = "#/$defs/"
_OLDER_TRIGGERS: Final = (
    *("job-inactive", "job-submit", "job-alloc", "job-start", "job-release", "job-free", "job-clean"),
    *("job-priority", "job-urgency", "job-validate", "job-exception", "job-annotations"),
)
_CANCELLABLE: Final = (*STATES[:-1], "pending", "running", "active")


def _whole(least: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": 1_000_000_000}


def _count(least: int) -> dict[str, Any]:
    return {"anyOf": [_whole(least), PLACEHOLDER]}


def _words(*words: str) -> dict[str, Any]:
    return {"enum": list(words)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"{_REF}{name}"}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    """A list; a single plain value stands for a list of one."""
    return {"anyOf": [{"type": "array", "items": item}, {"type": "null"}, {"not": _OBJECT, **item}]}


_FILE: Final = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "A file beside the ensemble file, linked"},
                "to": {"type": "string", "description": "Its name in the work directory"},
            },
            "required": ["path"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "render": {"type": "string", "description": "A file whose placeholders are filled in for each job"},
                "to": {"type": "string", "description": "Its name in the work directory"},
            },
            "required": ["render"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "text": {"type": "string", "description": "What the file holds; placeholders are filled in"},
                "to": {"type": "string", "description": "Its name in the work directory"},
            },
            "required": ["text", "to"],
            "additionalProperties": False,
        },
    ]
}

_SIZES: Final = {
    "type": "object",
    "properties": {
        "min": {**_whole(0), "description": "shrink stops here"},
        "max": {**_whole(1), "description": "grow stops here"},
        "start": {**_whole(1), "description": "Nodes at the start; left out: min"},
    },
    "additionalProperties": False,
}

_SHAPES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("EnsembleSpec", "name"): NAME,
    ("EnsembleSpec", "seed"): _whole(0),
    ("EnsembleSpec", "members"): {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": NAME["pattern"]},
        "additionalProperties": {"anyOf": [_ref("MemberSpec"), {"type": "string"}, {"type": "null"}]},
    },
    ("EnsembleSpec", "jobs"): {"type": "array", "minItems": 1, "items": _ref("GroupSpec")},
    ("EnsembleSpec", "rules"): {"type": ["array", "null"], "items": _ref("RuleSpec")},
    ("EnsembleSpec", "algorithm"): {"anyOf": [_ref("AlgorithmSpec"), {"type": ["string", "null"]}]},
    ("EnsembleSpec", "limits"): _ref("LimitsSpec"),
    ("EnsembleSpec", "logging"): _ref("LoggingSpec"),
    ("MemberSpec", "nodes"): {"anyOf": [_whole(1), _SIZES]},
    ("MemberSpec", "min_nodes"): _whole(0),
    ("MemberSpec", "max_nodes"): _whole(0),
    ("MemberSpec", "cores"): _whole(0),
    ("MemberSpec", "gpus"): _whole(0),
    ("MemberSpec", "price"): PRICE,
    ("GroupSpec", "name"): NAME,
    ("GroupSpec", "count"): _whole(1),
    ("GroupSpec", "submit"): _words("auto", "start", "rules"),
    ("GroupSpec", "nodes"): _count(0),
    ("GroupSpec", "tasks"): _count(1),
    ("GroupSpec", "cores"): _count(1),
    ("GroupSpec", "gpus"): _count(0),
    ("GroupSpec", "launcher"): _words(*LAUNCHERS),
    ("GroupSpec", "walltime"): {**DURATION, "anyOf": [*DURATION["anyOf"], PLACEHOLDER]},
    ("GroupSpec", "env"): {"type": ["object", "null"], "additionalProperties": TEXT},
    ("GroupSpec", "inputs"): _list_of(_FILE),
    ("GroupSpec", "outputs"): {
        "type": "object",
        "propertyNames": {"pattern": r"^[^\d\W]\w*$"},
        "additionalProperties": {"anyOf": [{"type": "string"}, _ref("OutputRule")]},
    },
    ("GroupSpec", "retries"): {"anyOf": [_whole(0), _ref("RetrySpec")]},
    ("GroupSpec", "keep"): _words("all", "failed", "none"),
    ("GroupSpec", "max_running"): _whole(1),
    ("GroupSpec", "binding"): _words("none", "core", "socket"),
    ("GroupSpec", "order"): _words("listed", "random", "blocked"),
    ("GroupSpec", "warmup"): _whole(0),
    ("GroupSpec", "derived"): {"type": ["object", "null"], "additionalProperties": TEXT},
    ("GroupSpec", "options"): {"type": ["object", "null"], "additionalProperties": TEXT},
    ("RetrySpec", "limit"): _whole(0),
    ("RetrySpec", "reasons"): _list_of(_words(*REASONS)),
    ("RetrySpec", "delay"): DURATION,
    ("OutputRule", "take"): _words(*TAKES),
    ("RuleSpec", "trigger"): {
        "anyOf": [
            _words(*TRIGGERS, *(f"member-{name}" for name in MEMBER_TRIGGERS)),
            {"type": "string", "pattern": "^job-native-"},
            {**_words(*_OLDER_TRIGGERS), "description": "Names of Flux' own events, as ensemble-python spells them"},
        ]
    },
    ("RuleSpec", "when"): {
        "type": ["string", "number", "null"],
        "examples": [3, "> 5.5", "mean.melt.pressure > 5 and count.melt.active == 0"],
    },
    ("RuleSpec", "seconds"): DURATION,
    ("ActionSpec", "value"): {"type": "number", "exclusiveMinimum": 0},
    ("ActionSpec", "states"): _list_of(_words(*_CANCELLABLE)),
    ("ActionSpec", "rule"): {"anyOf": [_ref("RuleSpec"), {"type": "null"}]},
    ("ActionSpec", "repetitions"): {"anyOf": [_whole(1), _words("unlimited")]},
    ("ActionSpec", "backoff"): _whole(0),
    ("ActionSpec", "cooldown"): DURATION,
    ("LimitsSpec", "jobs"): _whole(1),
    ("LimitsSpec", "failures"): _whole(1),
    ("LimitsSpec", "walltime"): DURATION,
    ("LimitsSpec", "node_hours"): ABOVE_ZERO,
    ("LimitsSpec", "cost"): ABOVE_ZERO,
    ("LimitsSpec", "on_limit"): _words("drain", "cancel"),
    ("LoggingSpec", "heartbeat"): DURATION,
}
"""Fields that are read otherwise than their type says."""

_NOT_BY_DEFAULT: Final = frozenset({"LimitsSpec", "RetrySpec.limit", "GroupSpec.max_running", "RuleSpec.seconds"})
"""Where the default of the struct means that nothing was said, and would be refused in a file."""


def schema() -> dict[str, Any]:
    """Return the schema, plain data for `json.dumps`."""
    (_,), definitions = msgspec.json.schema_components([EnsembleSpec], ref_template=_REF + "{name}")
    del definitions["FileInput"]
    found = {name: _definition(name, one) for name, one in definitions.items()}
    top = found.pop("EnsembleSpec")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://ensemble.flux-framework.org/v1alpha1/ensemble.schema.json",
        **top,
        "title": "Ensemble",
        "$defs": found,
    }


def _definition(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    """One struct as it is written in a file."""
    properties = {
        key: _property(name, key, known)
        for key, known in definition["properties"].items()
        if key not in _HIDDEN.get(name, ())
    }
    if name == "GroupSpec":
        properties["duration"] = {**_SHAPES["GroupSpec", "walltime"], "description": "Older word for walltime"}
    if name == "OutputRule":
        properties = {"from": properties.pop("source"), **properties}
        properties["source"] = {**properties["from"], "description": "The same as `from`"}
    found = {**definition, "properties": properties, "additionalProperties": False}
    found.pop("required", None)
    if name in _REQUIRED:
        found["required"] = list(_REQUIRED[name])
    return found


def _property(struct: str, key: str, known: dict[str, Any]) -> dict[str, Any]:
    shape = _SHAPES.get((struct, key))
    if (struct, key) == ("ActionSpec", "name"):
        shape = _words(*action_names())
    elif (struct, key) == ("RuleSpec", "action"):
        shape = {"anyOf": [_ref("ActionSpec"), _words(*action_names())]}
    if shape is None:
        shape = {word: value for word, value in known.items() if word not in ("description", "default")}
        shape = dict(TEXT) if shape == {"type": "string"} else shape
    found = dict(shape)
    if known.get("description"):
        found["description"] = known["description"]
    default = known.get("default")
    if default not in (None, "", {}, [], ()) and not {struct, f"{struct}.{key}"} & _NOT_BY_DEFAULT:
        found["default"] = default
    return found
