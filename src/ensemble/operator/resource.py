"""The custom resource `Ensemble`, declared once with the keys of `spec.keys`.

The reader of objects, the schema of the CustomResourceDefinition (`crd.py`) and the tables in `docs/operator.md` follow
from these lines. What an ensemble file has too (`jobs`, `rules`, `limits`, ...) is the file format's own, and is read
by the file format's own reader.
"""

from __future__ import annotations

__all__ = [
    "GROUP",
    "KIND",
    "KINDS",
    "PLURAL",
    "VERSION",
    "ArtifactsSpec",
    "JournalVolumeSpec",
    "MemberResource",
    "NodePoolSpec",
    "ServiceSpec",
    "SidecarSpec",
    "Spec",
    "reference",
]

import re
from typing import Annotated, Any, Final

from msgspec import Struct

from ensemble.spec import keys
from ensemble.spec.convert import Converter, Failed
from ensemble.spec.keys import BOOLEAN, MAPPING, NAME, TEXT, TEXTS, Key, Shape, object_shape, whole, word
from ensemble.spec.nodes import Tree
from ensemble.spec.reference import keys_table

GROUP: Final = "ensemble.flux-framework.org"
VERSION: Final = "v1alpha1"
KIND: Final = "Ensemble"
PLURAL: Final = "ensembles"

KINDS: Final = {"job": "job", "jobset": "jobset", "leaderWorkerSet": "leaderworkerset", "minicluster": "minicluster"}
"""The keys of a member that say its kind, and the kind."""


def _unread(shape: Shape) -> Shape:
    """A value of the file format: kept as it came, for the reader of files."""
    return Shape(lambda _, tree, __: tree, shape.made, shape.words)


def _members(reader: Converter, tree: Tree, where: str) -> tuple[MemberResource, ...]:
    return tuple(
        reader.items(
            tree, lambda one, inner: MemberResource(tree=one, **reader.struct(one, MemberResource, inner)), where
        )
    )


def _list(reader: Converter, tree: Tree, where: str) -> list[Any]:
    return reader.items(tree, reader.plain, where)


def _port(reader: Converter, tree: Tree, where: str) -> int:
    text = reader.text(tree, where)
    if not text.isdigit() or not 0 < int(text) < 65536:
        reader.complain(tree, where, f"{text!r} is not a port")
        raise Failed
    return int(text)


_PORT: Final = Shape(_port, {"type": ["integer", "string"]}, "a port")
_OBJECTS: Final = Shape(_list, {"type": "array", "items": {"type": "object"}}, "a list of mappings")


class SidecarSpec(Struct, frozen=True, kw_only=True):
    """The container beside the Flux brokers of a MiniCluster that carries out what the service asks for."""

    image: Annotated[str, Key("The image of the agent; by default that of the programs.", TEXT)] = ""
    pull_always: Annotated[bool, Key("Whether the image is pulled at each start.", BOOLEAN, "pullAlways")] = False
    pull_policy: Annotated[
        str,
        Key(
            "When the image is pulled.",
            word("Always", "IfNotPresent", "Never", what="pull policy"),
            "imagePullPolicy",
        ),
    ] = ""
    port: Annotated[int, Key("The port on which the agent listens.", _PORT)] = 50051
    workers: Annotated[int, Key("The calls that the agent serves at a time.", whole(1))] = 10


class NodePoolSpec(Struct, frozen=True, kw_only=True):
    """The nodes on which the pods of a member run, for a cluster autoscaler to add to."""

    labels: Annotated[dict[str, str], Key("Labels that these nodes have.", TEXTS)] = {}
    taints: Annotated[list[Any], Key("Taints that these nodes have: `key`, `value`, `effect`.", _OBJECTS)] = []
    class_: Annotated[str, Key("The class of node group that is to bring them.", TEXT, "class")] = ""
    provisioning: Annotated[
        str, Key("The class of the ProvisioningRequest that announces them; none is made without.", TEXT)
    ] = ""

    def plain(self) -> dict[str, Any]:
        """What members are told."""
        return {
            "labels": self.labels,
            "taints": self.taints,
            "class": self.class_,
            "provisioning": self.provisioning,
        }


class JournalVolumeSpec(Struct, frozen=True, kw_only=True):
    """Where the journal is kept. Without `size` and `claimName` it lives as long as the service pod."""

    size: Annotated[str, Key("The size of a volume of its own, such as `1Gi`.", TEXT)] = ""
    storage_class: Annotated[str, Key("The storage class of that volume.", TEXT, "storageClassName")] = ""
    claim: Annotated[str, Key("An existing claim that is used instead.", TEXT, "claimName")] = ""
    keep: Annotated[bool, Key("Whether the volume stays when the Ensemble is deleted.", BOOLEAN)] = False


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """The pod that runs the ensemble."""

    image: Annotated[str, Key("The image; by default that of the operator.", TEXT)] = ""
    pull_policy: Annotated[
        str,
        Key(
            "When the image is pulled.", word("Always", "IfNotPresent", "Never", what="pull policy"), "imagePullPolicy"
        ),
    ] = ""
    account: Annotated[
        str,
        Key("A ServiceAccount for it, which must have the rights; by default one is made.", TEXT, "serviceAccountName"),
    ] = ""
    journal: Annotated[
        JournalVolumeSpec, Key("Where the journal is kept.", object_shape(JournalVolumeSpec, "[Journal](#journal)"))
    ] = JournalVolumeSpec()
    resources: Annotated[dict[str, Any], Key("Resources of the container, as in a pod.", MAPPING)] = {}
    node_selector: Annotated[dict[str, str], Key("Labels of the nodes it may run on.", TEXTS, "nodeSelector")] = {}
    tolerations: Annotated[list[Any], Key("Tolerations, as in a pod.", _OBJECTS)] = []


class ArtifactsSpec(Struct, frozen=True, kw_only=True):
    """Where the run is saved when it is over: it is pushed to an OCI registry, read back and compared."""

    push: Annotated[
        str, Key("`HOST/REPOSITORY` of a registry, or with a tag of your own `HOST/REPOSITORY:TAG`.", TEXT)
    ] = ""
    attach: Annotated[str, Key("An image in a registry that the run is attached to.", TEXT)] = ""
    credentials: Annotated[str, Key("A Secret of type `kubernetes.io/dockerconfigjson` for the registry.", TEXT)] = ""
    plain_http: Annotated[bool, Key("Whether the registry is talked to without TLS.", BOOLEAN, "plainHTTP")] = False
    clean: Annotated[
        bool,
        Key("Whether the service pod and its volume are deleted once the copy in the registry is verified.", BOOLEAN),
    ] = False


class MemberResource(Struct, frozen=True, kw_only=True):
    """Where jobs run, as one of `job`, `jobset`, `leaderWorkerSet` and `minicluster`; by default `job`."""

    tree: Tree
    """What it was read from."""
    name: Annotated[str, Key("Its name in rules and in groups; by default its kind.", NAME)] = ""
    job: Annotated[
        dict[str, Any] | None,
        Key("Each job is a Job; what is here is its pod: image, resources, volumes, ...", MAPPING),
    ] = None
    jobset: Annotated[dict[str, Any] | None, Key("Each job is a JobSet; what is here is its pods.", MAPPING)] = None
    leader_worker_set: Annotated[
        dict[str, Any] | None,
        Key("Each job is a LeaderWorkerSet of one group; what is here is its pods.", MAPPING, "leaderWorkerSet"),
    ] = None
    minicluster: Annotated[
        dict[str, Any] | None,
        Key(
            "Jobs run under Flux in one MiniCluster: `spec` is that of the Flux Operator.",
            MAPPING,
        ),
    ] = None
    size: Annotated[int, Key("Nodes at the start.", whole(1))] = 0
    min_size: Annotated[int, Key("The fewest nodes that rules and people leave.", whole(0), "minSize")] = 0
    max_size: Annotated[int, Key("The most nodes that rules and people reach.", whole(1), "maxSize")] = 0
    cores: Annotated[int, Key("Cores of each node.", whole(0))] = 0
    gpus: Annotated[int, Key("GPUs of each node.", whole(0))] = 0
    price: Annotated[
        Tree | None, Key("The price of a node-hour, such as `0.41 USD/node-hour`.", _unread(keys.PRICE))
    ] = None
    node_pool: Annotated[
        NodePoolSpec | None,
        Key("The nodes that its pods select.", object_shape(NodePoolSpec, "[Node pools](#node-pools)"), "nodePool"),
    ] = None
    sidecar: Annotated[
        SidecarSpec | None,
        Key("The agent beside the Flux brokers of a MiniCluster.", object_shape(SidecarSpec, "[Sidecar](#sidecar)")),
    ] = None
    jobs: Annotated[Tree | None, Key("Groups of jobs that run here, as in an ensemble file.", _unread(keys.JOBS))] = (
        None
    )
    algorithm: Annotated[
        Tree | None,
        Key("What steers these jobs; with `jobs` here, by default `workload-demand`.", _unread(keys.ALGORITHM)),
    ] = None
    ensemble: Annotated[Tree | None, Key("A whole ensemble file as text, without members.", _unread(TEXT))] = None
    branch: Annotated[str, Key("Accepted and not used: the image says which version runs.", TEXT)] = ""

    @property
    def kind_key(self) -> str:
        """The key that says its kind."""
        given = {"job": self.job, "jobset": self.jobset, "leaderWorkerSet": self.leader_worker_set}
        given["minicluster"] = self.minicluster
        return next((key for key, value in given.items() if value is not None), "job")

    @property
    def kind(self) -> str:
        """The kind of member in an ensemble file."""
        return KINDS[self.kind_key]


MEMBERS: Final = Shape(
    _members,
    {"type": "array", "minItems": 1, "maxItems": 64, "items": keys.ref("MemberResource")},
    "a list of [Members](#members)",
)


class Spec(Struct, frozen=True, kw_only=True):
    """`spec` of an Ensemble."""

    members: Annotated[tuple[MemberResource, ...], Key("Where jobs run.", MEMBERS, needed=True)] = ()
    jobs: Annotated[Tree | None, Key("The groups of jobs, as in an ensemble file.", _unread(keys.JOBS))] = None
    rules: Annotated[Tree | None, Key("The rules, as in an ensemble file.", _unread(keys.RULES))] = None
    algorithm: Annotated[Tree | None, Key("A packaged set of rules.", _unread(keys.ALGORITHM))] = None
    limits: Annotated[Tree | None, Key("Ceilings that no rule can exceed.", _unread(keys.LIMITS))] = None
    logging: Annotated[Tree | None, Key("What is shown, and the heartbeat.", _unread(keys.LOGGING))] = None
    custom: Annotated[Tree | None, Key("Python source of custom functions, run in the service pod.", _unread(TEXT))] = (
        None
    )
    seed: Annotated[Tree | None, Key("The number from which every random choice follows.", _unread(whole(0)))] = None
    size: Annotated[
        int, Key("The size of the only member, which `kubectl scale` sets; before that, its own `size`.", whole(1))
    ] = 0
    check_seconds: Annotated[
        int,
        Key("Seconds between two checks of an algorithm and between two lines in the log.", whole(1), "checkSeconds"),
    ] = 10
    sidecar: Annotated[
        SidecarSpec,
        Key(
            "The agent of all MiniClusters, where a member says no other.",
            object_shape(SidecarSpec, "[Sidecar](#sidecar)"),
        ),
    ] = SidecarSpec()
    suspend: Annotated[bool, Key("Whether no further job starts; those that run go on.", BOOLEAN)] = False
    service: Annotated[
        ServiceSpec, Key("The pod that runs the ensemble.", object_shape(ServiceSpec, "[Service](#service)"))
    ] = ServiceSpec()
    artifacts: Annotated[
        ArtifactsSpec,
        Key("What is saved when the ensemble is over.", object_shape(ArtifactsSpec, "[Artifacts](#artifacts)")),
    ] = ArtifactsSpec()
    ttl: Annotated[
        int,
        Key(
            "Seconds after its end after which the Ensemble is deleted; by default never.",
            whole(0),
            "ttlSecondsAfterFinished",
        ),
    ] = -1


_SECTIONS: Final[tuple[tuple[str, type], ...]] = (
    ("Spec", Spec),
    ("Members", MemberResource),
    ("Sidecar", SidecarSpec),
    ("Node pools", NodePoolSpec),
    ("Service", ServiceSpec),
    ("Journal", JournalVolumeSpec),
    ("Artifacts", ArtifactsSpec),
)


def reference() -> str:
    """The tables of `docs/operator.md`, as Markdown; links to the file format lead to its own reference."""
    lines: list[str] = []
    for title, struct in _SECTIONS:
        text = (struct.__doc__ or "").strip()
        lines += [f"### {title}", "", text if text.endswith(".") else f"{text}.", "", *keys_table(struct), ""]
    own = {title.lower().replace(" ", "-") for title, _ in _SECTIONS}

    def linked(found: re.Match[str]) -> str:
        return found[0] if found[1] in own else f"](reference.md#{found[1]})"

    return re.sub(r"\]\(#([a-z-]+)\)", linked, "\n".join(lines))
