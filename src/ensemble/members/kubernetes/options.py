"""Options of a Kubernetes member and of a group's jobs."""

from __future__ import annotations

__all__ = ["GROUP_OPTIONS", "JobOptions", "MemberOptions", "Shared"]

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import yaml
from msgspec import Struct

from ensemble.members.kit.options import check_options, is_yes, seconds
from ensemble.members.kubernetes.merge import merged
from ensemble.model.errors import MemberError

GROUP_OPTIONS: Final = ("elastic", "gpu", "image", "memory", "node_selector", "pod", "pull", "service_account")
"""Options that a group may have; a member may have them too, and a group's come over a member's."""
_MEMBER_OPTIONS: Final = (
    "context", "identity", "keep", "kubeconfig", "namespace", "new_nodes", "owner", "resize_timeout", "shared",
    "start_timeout",
)  # fmt: skip
_PULLS: Final = ("Always", "IfNotPresent", "Never")


class Shared(Struct, frozen=True):
    """A volume that pods and the engine both see at `path`, with the run directory below it; `volume` is its source,
    such as `{persistentVolumeClaim: {claimName: data}}`."""

    path: str
    volume: dict[str, Any]

    @classmethod
    def read(cls, given: Any) -> Shared | None:
        """Read the option `shared`. Raises `MemberError`."""
        if not given:
            return None
        try:
            return msgspec.convert(_mapping(given, "shared"), cls)
        except msgspec.ValidationError as error:
            text = "shared: expected a path and a volume, such as `{path: /data, volume: {hostPath: {path: /data}}}`"
            raise MemberError(f"{text}; {error}") from error


class MemberOptions(Struct, frozen=True):
    """Options that only a member has. Times are in seconds.

    `kubeconfig`, `context`, `namespace`: where. `identity`: what tells runs of the same name apart; by default it is
    drawn, and kept in the run's directory. `owner`: an object (an entry of `ownerReferences`) with which those of the
    run are deleted. `keep`: how long Kubernetes keeps what has ended. `start_timeout`: how long
    a pod may take to start. `new_nodes`: an autoscaler may bring larger nodes than there are.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    identity: str = ""
    keep: float = 3600.0
    start_timeout: float = 600.0
    shared: Shared | None = None
    new_nodes: bool = False
    owner: dict[str, Any] = {}

    @classmethod
    def read(cls, given: Mapping[str, Any], kind: str) -> MemberOptions:
        """Read a member's options. Raises `MemberError` for one that does not exist or is not as expected."""
        check_options(given, (*_MEMBER_OPTIONS, *GROUP_OPTIONS), kind)
        JobOptions.read(given, {})
        fields: dict[str, Any] = {name: str(given.get(name, "")) for name in ("kubeconfig", "context", "namespace")}
        fields["identity"] = str(given.get("identity", ""))
        for name in ("keep", "start_timeout"):
            if name in given:
                fields[name] = seconds(given[name], name)
        fields["shared"] = Shared.read(given.get("shared"))
        fields["owner"] = _mapping(given.get("owner", {}), "owner")
        return cls(**fields, new_nodes=is_yes(given.get("new_nodes", "no")))


class JobOptions(Struct, frozen=True):
    """Options of a job's pods. `pod` is a pod template, merged strategically over ours. `gpu`: the resource that a GPU
    is. `elastic`: the job has as many pods as its member has nodes, and follows it."""

    image: str = ""
    pull: str = ""
    memory: str = ""
    gpu: str = "nvidia.com/gpu"
    service_account: str = ""
    node_selector: dict[str, str] = {}
    elastic: bool = False
    pod: dict[str, Any] = {}

    @classmethod
    def read(cls, member: Mapping[str, Any], group: Mapping[str, Any]) -> JobOptions:
        """Join the options of a member and of a group. Raises `MemberError` where one is not as expected."""
        fields: dict[str, Any] = {}
        for name in ("image", "pull", "memory", "gpu", "service_account"):
            text = str(group.get(name, member.get(name, "")))
            if text:
                fields[name] = text
        if fields.get("pull", _PULLS[0]) not in _PULLS:
            raise MemberError(f"pull: expected one of {', '.join(_PULLS)}, found {fields['pull']!r}")
        selectors = [_mapping(given.get("node_selector", {}), "node_selector") for given in (member, group)]
        pods = [_mapping(given.get("pod", {}), "pod") for given in (member, group)]
        fields["node_selector"] = {str(name): str(text) for one in selectors for name, text in one.items()}
        fields["elastic"] = is_yes(group.get("elastic", member.get("elastic", "no")))
        return cls(**fields, pod=merged(pods[0], pods[1]))


def _mapping(given: Any, where: str) -> dict[str, Any]:
    """A mapping, or YAML text of one: options of a group are plain text. Raises `MemberError`."""
    try:
        found = yaml.safe_load(given) if isinstance(given, str) else given
    except yaml.YAMLError as error:
        raise MemberError(f"{where}: not YAML: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise MemberError(f"{where}: expected a mapping, found {given!r}")
    return dict(found)
