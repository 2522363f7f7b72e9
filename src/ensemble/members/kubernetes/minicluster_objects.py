"""The objects of a MiniCluster member: the MiniCluster that it makes, and the Secret by which its agent is reached.

The fields are those of the Flux Operator, `flux-framework.org/v1alpha2`
(https://flux-framework.org/flux-operator/getting_started/custom-resource-definition.html).
"""

from __future__ import annotations

__all__ = ["AGENT", "MINICLUSTERS", "SECRETS", "MiniCluster", "MiniClusterOptions", "Secret", "manifest", "secret"]

import base64
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from secrets import token_urlsafe
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.members.kit.options import check_options, is_yes, seconds
from ensemble.members.kubernetes.merge import merged
from ensemble.members.kubernetes.node_pool import SAFE_TO_EVICT, NodePool
from ensemble.members.kubernetes.objects import Meta, Resource
from ensemble.members.kubernetes.options import Shared
from ensemble.model.errors import MemberError
from ensemble.session.certificates import certificates

AGENT: Final = "api"
"""The name of the sidecar container, and of the certificate that it shows."""
_KEYS: Final = "/etc/ensemble-agent"
_VIEW: Final = "/mnt/flux"
"""The directory that the containers of one pod share, unless the MiniCluster names another (`mountPath`)."""
_OPTIONS: Final = (
    "address", "attach", "context", "identity", "image", "kubeconfig", "minicluster", "name", "namespace",
    "nodePool", "owner", "port", "pullAlways", "resize_timeout", "shared", "sidecar", "start_timeout", "workers",
)  # fmt: skip
_SIDECAR: Final = ("image", "port", "pullAlways", "workers")


class Sizes(Struct, kw_only=True):
    """`spec` of a MiniCluster, as far as it is read."""

    size: int = 1
    minSize: int = 0  # noqa: N815 - the API's own names
    maxSize: int = 0  # noqa: N815


class MiniClusterStatus(Struct, kw_only=True):
    """`status` of a MiniCluster."""

    size: int = 0
    maximumSize: int = 0  # noqa: N815


class MiniCluster(Struct, kw_only=True):
    """A MiniCluster."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: Sizes = msgspec.field(default_factory=Sizes)
    status: MiniClusterStatus = msgspec.field(default_factory=MiniClusterStatus)

    @property
    def most(self) -> int:
        """The largest size that it can have: its operator fixes it when it sees it first."""
        return self.status.maximumSize or max(self.spec.maxSize, self.spec.size)


class Secret(Struct, kw_only=True):
    """A Secret; `data` is in base64."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    data: dict[str, str] = {}

    def value(self, name: str) -> bytes:
        """One of its values. Raises `MemberError` where there is none."""
        if name not in self.data:
            raise MemberError(f"Secret {self.metadata.name} has no {name}")
        return base64.b64decode(self.data[name])


MINICLUSTERS: Final = Resource(
    "flux-framework.org", "v1alpha2", "MiniCluster", "miniclusters", MiniCluster,
    install="kubectl apply -f "
    "https://raw.githubusercontent.com/flux-framework/flux-operator/main/examples/dist/flux-operator.yaml",
)  # fmt: skip
SECRETS: Final = Resource("", "v1", "Secret", "secrets", Secret)


class MiniClusterOptions(Struct, frozen=True):
    """Options of the member. Times are in seconds.

    * `kubeconfig`, `context`, `namespace`: where.
    * `identity`: what tells runs of the same name apart; by default it is drawn, and kept in the run's directory.
    * `owner`: an object (an entry of `ownerReferences`) with which the MiniCluster is deleted.
    * `name`: of the MiniCluster, by default made from the run's. `attach`: it is there already, with the Secret of its
      agent, and is neither made nor removed.
    * `address`: where the agent is reached from here, such as through `kubectl port-forward`; by default at its pod.
    * `image`: of the programs, with Flux in it or in the operator's view; `pull_always`: of it.
    * `minicluster`: a `spec` of a MiniCluster, merged over ours.
    * `sidecar_image` (by default that of the programs), `sidecar_pull_always`, `port`, `workers`: of the agent.
    * `shared`: a volume that all pods have.
    * `node_pool`: the nodes that pods ask for.
    * `start_timeout`: until the queue must be up. `resize_timeout`: until nodes that were asked for must be there.
    * `queue`: options of the Flux member inside.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    identity: str = ""
    owner: dict[str, Any] = {}
    name: str = ""
    attach: bool = False
    address: str = ""
    image: str = ""
    pull_always: bool = False
    sidecar_image: str = ""
    sidecar_pull_always: bool = False
    port: int = 50051
    workers: int = 10
    minicluster: dict[str, Any] = {}
    shared: Shared | None = None
    node_pool: NodePool = NodePool()
    start_timeout: float = 600.0
    resize_timeout: float = 600.0
    queue: dict[str, Any] = {}

    @classmethod
    def read(cls, given: Mapping[str, Any], queue: tuple[str, ...]) -> MiniClusterOptions:
        """Read a member's options; those named in `queue` are of the Flux member inside.

        Raises `MemberError` for one that does not exist or is not as expected.
        """
        check_options(given, (*_OPTIONS, *queue), "a MiniCluster member")
        sidecar = _mapping(given, "sidecar")
        check_options(sidecar, _SIDECAR, "the sidecar of a MiniCluster")
        fields: dict[str, Any] = {
            name: str(given.get(name, ""))
            for name in ("kubeconfig", "context", "namespace", "identity", "name", "address", "image")
        }
        for name in ("start_timeout", "resize_timeout"):
            if name in given:
                fields[name] = seconds(given[name], name)
        found = cls(
            **fields,
            attach=is_yes(given.get("attach", "no")),
            pull_always=is_yes(given.get("pullAlways", "no")),
            sidecar_image=str(sidecar.get("image", "")),
            sidecar_pull_always=is_yes(sidecar.get("pullAlways", given.get("pullAlways", "no"))),
            port=_whole(sidecar.get("port", given.get("port", 50051)), "port", 65535),
            workers=_whole(sidecar.get("workers", given.get("workers", 10)), "workers", 10_000),
            owner=_mapping(given, "owner"),
            shared=Shared.read(given.get("shared")),
            minicluster=_mapping(given, "minicluster"),
            node_pool=NodePool.read(given.get("nodePool")),
            queue={name: given[name] for name in queue if name in given},
        )
        if found.node_pool.priority_class:
            raise MemberError("nodePool.priorityClassName: the pods of a MiniCluster cannot have one; use `class`")
        if found.attach and not found.name:
            raise MemberError("attach: give the `name` of the MiniCluster that is there")
        if not found.attach and not found.image and not _runner(found.minicluster).get("image"):
            raise MemberError("image: a MiniCluster needs the image of its programs (`--image IMAGE`, or the option)")
        return found


def _mapping(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = given.get(name) or {}
    if not isinstance(found, Mapping):
        raise MemberError(f"{name}: expected a mapping, found {found!r}")
    return dict(found)


def _whole(given: Any, name: str, most: int) -> int:
    if isinstance(given, bool) or not str(given).isdecimal() or not 1 <= int(given) <= most:
        raise MemberError(f"{name}: expected a number from 1 to {most}, found {given!r}")
    return int(given)


def _runner(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The container of a MiniCluster that runs Flux: the one that says so, else the first."""
    containers: list[dict[str, Any]] = spec.get("containers") or []
    return next((one for one in containers if one.get("runFlux")), containers[0] if containers else {})


def main_container(options: MiniClusterOptions) -> dict[str, Any]:
    """The container of the brokers and of the programs."""
    image = {"image": options.image, "pullAlways": options.pull_always} if options.image else {}
    found = {**image, **_runner(options.minicluster), "runFlux": True}
    if options.shared is not None:
        found["volumes"] = {**found.get("volumes", {}), "shared": _volume(options.shared)}
    return found


def _volume(shared: Shared) -> dict[str, Any]:
    """A volume of a pod in the words of a MiniCluster. Raises `MemberError` for a kind that it does not have."""
    match shared.volume:
        case {"persistentVolumeClaim": {"claimName": str(claim)}}:
            return {"claimName": claim, "path": shared.path}
        case {"hostPath": {"path": str(path)}}:
            return {"hostPath": path, "path": shared.path}
    raise MemberError("shared.volume: a MiniCluster takes a persistentVolumeClaim or a hostPath")


def manifest(
    name: str, labels: Mapping[str, str], options: MiniClusterOptions, *, size: int, least: int, most: int, agent: str
) -> dict[str, Any]:
    """The MiniCluster of `size` nodes, between `least` and `most` of them; `agent` is the command of its sidecar."""
    given = dict(options.minicluster)
    runner = _runner(given)
    main = main_container(options)
    others = [one for one in given.pop("containers", None) or [] if one is not runner and one.get("name") != AGENT]
    sidecar = {
        "name": AGENT,
        "image": options.sidecar_image or main["image"],
        "pullAlways": options.sidecar_pull_always,
        "command": agent,
        # the last container: the operator gives each container the volumes of those before it, too
        "volumes": {
            **main.get("volumes", {}),
            "ensemble-agent": {"secretName": secret_name(name), "path": _KEYS},
        },
    }
    ours: dict[str, Any] = {
        "interactive": True,
        # its script looks for the socket where newer operators do not put it; the agent waits by itself
        "flux": {"noWaitSocket": True},
        # two MiniClusters with one service name would find each other's brokers
        "network": {"headlessName": name},
        "pod": {
            **options.node_pool.pod(),
            "annotations": {SAFE_TO_EVICT: "false"},
            "labels": dict(labels),
        },
    }
    spec = merged(ours, given)
    spec |= {"size": size, "minSize": least, "maxSize": most, "containers": [main, *others, sidecar]}
    metadata: dict[str, Any] = {"name": name, "labels": dict(labels)}
    if options.owner:
        metadata["ownerReferences"] = [options.owner]
    return {
        "apiVersion": MINICLUSTERS.api_version,
        "kind": MINICLUSTERS.kind,
        "metadata": metadata,
        "spec": spec,
    }


def agent_command(run: str, member: str, run_dir: str, options: MiniClusterOptions) -> str:
    """The script of the sidecar. `run_dir`: the run's directory here, which may be on the volume that all pods have.

    The operator starts it in every pod, and only the first has something to serve. The others wait until their broker
    is done: a pod with a container that has ended is not ready, and its service would not give its address. A Secret's
    files can be read by others, and an agent takes no such token, so they are copied first.
    """
    view = options.minicluster.get("flux", {}).get("container", {}).get("mountPath") or _VIEW
    folder = options.shared.path if options.shared is not None else f"{view}/ensemble"
    base = () if options.shared is not None and PurePath(run_dir).is_relative_to(folder) else ("--base", folder)
    words = [
        "ensemble", "agent", "--member", "minicluster", "--listen", f":{options.port}", "--workers",
        str(options.workers), "--run", run, "--name", member, *base,
        "--token-file", "$keys/token", "--tls-cert", "$keys/tls.crt", "--tls-key", "$keys/tls.key",
    ]  # fmt: skip
    line = " ".join(word if word.startswith("$keys") else shlex.quote(word) for word in words)
    return "\n".join(
        (
            'if [ "${JOB_COMPLETION_INDEX:-0}" != 0 ]; then',
            "  trap 'exit 0' TERM",
            f"  until [ -e {shlex.quote(view)}/flux-operator-complete.txt ]; do sleep 5 & wait $!; done",
            "  exit 0",
            "fi",
            "umask 077",
            "keys=$(mktemp -d)",
            f"cp {_KEYS}/* $keys/",
            "umask 022",
            f"exec {line}",
        )
    )


def secret_name(name: str) -> str:
    """The Secret of a MiniCluster's agent."""
    return f"{name}-agent"


def secret(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """A Secret with a new token and certificate for the agent of a MiniCluster.

    The certificate is for the name `AGENT`: the address of the pod is not known before it has one.
    """
    made = certificates([AGENT], f"ensemble MiniCluster {name}", days=366)
    values = {
        "token": token_urlsafe(32).encode(),
        "tls.crt": made.certificate,
        "tls.key": made.key,
        "ca.crt": made.authority,
    }
    return {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "metadata": {"name": secret_name(name), "labels": dict(labels)},
        "data": {name: base64.b64encode(value).decode() for name, value in values.items()},
    }
