"""JSON Schema of ensemble files (draft 2020-12), from the same structs that the loader converts to."""

from __future__ import annotations

__all__ = ["schema"]

from typing import Any

import msgspec

from ensemble.spec.model import EnsembleSpec

_HIDDEN = {
    "GroupSpec": ("points", "axes"),
    "ActionSpec": ("points",),
    "EnsembleSpec": ("directory",),
    "MemberSpec": ("currency",),
}
_TEXT_OR_NUMBER = {"type": ["string", "number"]}


def schema() -> dict[str, Any]:
    """Return the schema. It admits the file's own spellings (durations with units, a plain pattern as an output)."""
    (_,), definitions = msgspec.json.schema_components([EnsembleSpec], ref_template="#/$defs/{name}")
    for name, definition in definitions.items():
        definition["additionalProperties"] = False
        for hidden in _HIDDEN.get(name, ()):
            definition["properties"].pop(hidden, None)
    _spell(definitions)
    top = definitions.pop("EnsembleSpec")
    top["required"] = ["jobs"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "title": "Ensemble", "$defs": definitions}


def _spell(definitions: dict[str, Any]) -> None:
    """Admit the spellings that are read besides the plain one."""

    def also(struct: str, field: str, *others: dict[str, Any]) -> None:
        known = definitions[struct]["properties"][field]
        text = known.pop("description", "")
        known.pop("default", None)
        definitions[struct]["properties"][field] = {
            "anyOf": [known, *others],
            **({"description": text} if text else {}),
        }

    for struct, field in (
        ("GroupSpec", "walltime"),
        ("RetrySpec", "delay"),
        ("RuleSpec", "seconds"),
        ("ActionSpec", "cooldown"),
        ("LimitsSpec", "walltime"),
        ("LoggingSpec", "heartbeat"),
        ("LimitsSpec", "cost"),
        ("MemberSpec", "price"),
        ("ActionSpec", "repetitions"),
    ):
        also(struct, field, _TEXT_OR_NUMBER)
    also("GroupSpec", "retries", {"type": "integer", "minimum": 0})
    also("GroupSpec", "outputs", {"type": "object", "additionalProperties": {"type": ["string", "object"]}})
    also("GroupSpec", "inputs", {"type": "array", "items": {"type": ["string", "object"]}})
    also("RuleSpec", "action", {"type": "string"})
    also("MemberSpec", "nodes", {"type": "object"})
    also("EnsembleSpec", "algorithm", {"type": "string"})
    also("EnsembleSpec", "members", {"type": "object", "additionalProperties": {"type": ["string", "object", "null"]}})
    groups = definitions["GroupSpec"]["properties"]
    groups["duration"] = {**_TEXT_OR_NUMBER, "description": "Older word for walltime"}
    outputs = definitions["OutputRule"]["properties"]
    outputs["from"] = outputs.pop("source")
    definitions["GroupSpec"]["required"] = ["name", "command"]
    definitions["RuleSpec"]["required"] = ["trigger", "action"]
    for struct in ("ActionSpec", "AlgorithmSpec"):
        definitions[struct]["required"] = ["name"]
