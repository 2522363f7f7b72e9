"""Strategic merge of pod templates, as the API defines it (`patchMergeKey` of each list)."""

from __future__ import annotations

__all__ = ["merged"]

from collections.abc import Mapping, Sequence
from typing import Any, Final

_KEYS: Final = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "imagePullSecrets": "name",
    "volumeMounts": "mountPath", "volumeDevices": "devicePath", "ports": "containerPort", "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey", "resourceClaims": "name",
}  # fmt: skip
"""By which field the items of a list of a pod are told apart: the API's own merge keys (`patchMergeKey`)."""
_ADDED: Final = frozenset({"tolerations", "matchExpressions", "nodeSelectorTerms"})
"""Lists without such a field whose items add up."""


def merged(base: Any, change: Any, field: str = "") -> Any:
    """A strategic merge: mappings by key, lists by the API's merge keys; null removes, anything else replaces."""
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        found = dict(base)
        for name, value in change.items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = merged(found[name], value, name) if name in found else value
        return found
    if isinstance(base, list) and isinstance(change, list):
        if field in _ADDED:
            return [*base, *(item for item in change if item not in base)]
        if field in _KEYS:
            return _merged_lists(base, change, _KEYS[field])
    return change


def _merged_lists(base: Sequence[Any], change: Sequence[Any], key: str) -> list[Any]:
    found = list(base)
    for item in change:
        place = next((at for at, one in enumerate(found) if one.get(key) == item.get(key)), None)
        if place is None:
            found.append(item)
        else:
            found[place] = merged(found[place], item)
    return found
