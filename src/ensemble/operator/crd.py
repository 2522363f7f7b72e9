"""The CustomResourceDefinition of `Ensemble`, from the keys of `resource.py` and of the file format.

The API server takes *structural* schemas only: each value has one type, and a schema has no references. A value that
may be written in several ways (a duration, a number or text) is therefore left open here and is checked by the webhook,
as are unknown keys: the API server would drop them without a word before the webhook could name the nearest one.
"""

from __future__ import annotations

__all__ = ["RULES", "crd", "structural"]

from typing import Any, Final

from ensemble.operator.resource import (
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    ArtifactsSpec,
    JournalVolumeSpec,
    MemberResource,
    NodePoolSpec,
    ServiceSpec,
    SidecarSpec,
    Spec,
)
from ensemble.operator.status import STATUS
from ensemble.spec import schema as file

OBJECTS: Final[tuple[type, ...]] = (
    MemberResource,
    SidecarSpec,
    NodePoolSpec,
    ServiceSpec,
    JournalVolumeSpec,
    ArtifactsSpec,
)
"""Everything with keys of its own below `spec`."""

RULES: Final = (
    ("!has(self.size) || size(self.members) == 1", "size is that of the only member; write size in a member", "size"),
    (
        "!has(self.size) || self.members.all(m, (!has(m.maxSize) || self.size <= m.maxSize) "
        "&& (!has(m.minSize) || self.size >= m.minSize))",
        "size is outside minSize and maxSize of the member",
        "size",
    ),
)
"""Rules in CEL on `spec`, with their messages and the field they are about: they hold for `kubectl scale` too, which
does not pass the webhook."""

MEMBER_RULES: Final = (
    (
        "[has(self.job), has(self.jobset), has(self.leaderWorkerSet), has(self.minicluster)].filter(x, x).size() <= 1",
        "a member is of one kind: job, jobset, leaderWorkerSet or minicluster",
    ),
    (
        "!has(self.minSize) || !has(self.maxSize) || self.minSize <= self.maxSize",
        "minSize is above maxSize",
    ),
)

COLUMNS: Final = (
    ("Phase", "string", ".status.phase", "Whether it waits, runs or is over."),
    ("Jobs", "string", ".status.progress", "Jobs that are over, of all jobs so far."),
    ("Members", "integer", ".status.membersReady", "Members that can be reached."),
    ("Size", "integer", ".status.size", "Nodes of all members."),
    ("Fired", "integer", ".status.rulesFired", "How often rules fired."),
    ("Age", "date", ".metadata.creationTimestamp", ""),
)


def crd() -> dict[str, Any]:
    """Return the definition as plain data."""
    columns: list[dict[str, Any]] = [
        {"name": name, "type": kind, "jsonPath": path} | ({"description": text} if text else {})
        for name, kind, path, text in COLUMNS
    ]
    reason = {"name": "Reason", "type": "string", "jsonPath": ".status.reason", "priority": 1}
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [*columns, reason],
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
        },
        "schema": {"openAPIV3Schema": _object_schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower()},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _object_schema() -> dict[str, Any]:
    definitions = {struct.__name__: file.object_schema(struct) for struct in (*file.OBJECTS, *OBJECTS)}
    spec = structural(file.object_schema(Spec), definitions)
    spec["x-kubernetes-validations"] = [
        {"rule": rule, "message": message, "fieldPath": f".{field}"} for rule, message, field in RULES
    ]
    spec["properties"]["members"]["items"]["x-kubernetes-validations"] = [
        {"rule": rule, "message": message} for rule, message in MEMBER_RULES
    ]
    return {
        "type": "object",
        "description": "An ensemble of HPC jobs, steered while they run by rules that react to what the jobs do.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": STATUS,
        },
    }


_KEPT: Final[tuple[str, ...]] = (
    "description",
    "type",
    "enum",
    "minimum",
    "maximum",
    "pattern",
    "minItems",
    "maxItems",
    "maxLength",
    "required",
)
_OPEN: Final = "x-kubernetes-preserve-unknown-fields"


def structural(schema: dict[str, Any], definitions: dict[str, Any], within: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON Schema as a structural one: references filled in, and left open where a value has several forms."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in within:
            # a rule may hold a rule: one level is shown
            return _open(schema, definitions[name])
        return structural(
            {**definitions[name], **{key: value for key, value in schema.items() if key != "$ref"}},
            definitions,
            (*within, name),
        )
    kind = schema.get("type")
    if isinstance(kind, list):
        some = [one for one in kind if one != "null"]
        if sorted(some) == ["integer", "string"]:
            return {"x-kubernetes-int-or-string": True} | _described(schema)
        if len(some) > 1:
            return _open(schema)
        schema = {**schema, "type": some[0]} | ({"nullable": True} if "null" in kind else {})
    elif kind is None and "enum" not in schema:
        return _open(schema)
    found = {key: schema[key] for key in _KEPT if key in schema}
    found.setdefault("type", "string")
    if schema.get("nullable"):
        found["nullable"] = True
    if found["type"] == "object":
        found[_OPEN] = True
        if "properties" in schema:
            found["properties"] = {
                key: structural(value, definitions, within) for key, value in schema["properties"].items()
            }
    if "items" in schema:
        found["items"] = structural(schema["items"], definitions, within)
    return found


def _open(schema: dict[str, Any], other: dict[str, Any] | None = None) -> dict[str, Any]:
    return {_OPEN: True} | _described(schema if "description" in schema or other is None else other)


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": schema["description"]} if schema.get("description") else {}
