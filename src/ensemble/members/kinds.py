"""The kinds of members: ours, one line each, and those of other packages (entry points `ensemble.members`)."""

from __future__ import annotations

__all__ = [
    "KINDS",
    "Kind",
    "Traits",
    "agent_factory",
    "batch_queue_here",
    "member_factory",
    "member_kinds",
    "traits_of",
]

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ensemble.members.contract import Member
from ensemble.model.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Kind(NamedTuple):
    """Where the class of a kind of member is, and, for a batch queue, the command that submits jobs to it.

    `beside`: where the class is that serves it beside the queue, in an agent, if that is another.
    """

    member: str
    submits: str = ""
    beside: str = ""

    def load(self) -> Any:
        """Import the class."""
        return _imported(self.member)


KINDS: Final = {
    "local": Kind("ensemble.members.local:LocalMember"),
    "simulated": Kind("ensemble.simulation:SimulatedMember"),
    "remote": Kind("ensemble.members.remote:RemoteMember"),
    "flux": Kind("ensemble.members.flux:FluxMember"),
    "minicluster": Kind(
        "ensemble.members.kubernetes.minicluster:MiniClusterMember",
        beside="ensemble.members.minicluster:MiniClusterMember",
    ),
    "job": Kind("ensemble.members.kubernetes.member:JobMember"),
    "jobset": Kind("ensemble.members.kubernetes.member:JobSetMember"),
    "leaderworkerset": Kind("ensemble.members.kubernetes.member:LeaderWorkerSetMember"),
    "slurm": Kind("ensemble.members.batch.slurm:SlurmMember", submits="sbatch"),
    "pbs": Kind("ensemble.members.batch.pbs:PbsMember", submits="qsub"),
}


def batch_queue_here() -> str:
    """The kind of batch queue whose login node this machine is; empty where it is none."""
    for name, kind in KINDS.items():
        if kind.submits and shutil.which(kind.submits) and kind.load().dialect.login_node():
            return name
    return ""


def member_factory(kind: str) -> Callable[[], Member]:
    """Return what makes members of a kind. Raises `InputError` with the known kinds for any other."""
    found: Kind | EntryPoint | None = KINDS.get(kind) or _elsewhere().get(kind)
    if found is None:
        raise InputError(f"there is no member of kind {kind!r} here; the kinds are {', '.join(member_kinds())}")
    try:
        factory: Callable[[], Member] = found.load()
    except Exception as error:
        raise InputError(f"members of kind {kind!r} cannot be used here: {error}") from error
    return factory


def agent_factory(kind: str) -> Callable[[], Member]:
    """Return what makes members of a kind in an agent, beside the queue. Raises `InputError` as `member_factory`."""
    found = KINDS.get(kind)
    if found is None or not found.beside:
        return member_factory(kind)
    factory: Callable[[], Member] = _imported(found.beside)
    return factory


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


class Traits(NamedTuple):
    """What a kind of member can do, by the attributes of its class; see `members.contract.Member`."""

    group_options: tuple[str, ...] | None = None
    needed_options: tuple[str, ...] = ()
    launchers: tuple[str, ...] | None = None
    fixed_size: bool = False
    own_nodes: bool = False
    simulated_as: Mapping[str, Any] = MappingProxyType({})


def traits_of(kind: str) -> Traits | None:
    """Return the traits of a kind of member; None where the kind cannot be loaded here."""
    try:
        member = member_factory(kind)
    except InputError:
        return None
    defaults: dict[str, Any] = Traits._field_defaults
    return Traits(**{name: getattr(member, name, default) for name, default in defaults.items()})


def member_kinds() -> Collection[str]:
    """Return the kinds of members that can be used here: ours and those of other packages."""
    return _Kinds()


class _Kinds(Collection[str]):
    """Looks at other packages only when a kind is not one of ours: that takes as long as a small run's start."""

    def __contains__(self, kind: object) -> bool:
        return kind in KINDS or kind in _elsewhere()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*KINDS, *_elsewhere()}))

    def __len__(self) -> int:
        return len({*KINDS, *_elsewhere()})


def _elsewhere() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # it takes as long to import as a small run to start

    return {entry.name: entry for entry in entry_points(group="ensemble.members")}
