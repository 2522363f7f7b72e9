"""What is different between the file of a run and a changed one, and whether a run that goes on can follow it."""

from __future__ import annotations

__all__ = ["FileChanges", "file_changes", "not_followed"]

from typing import Any

from msgspec import Struct, structs, to_builtins

from ensemble.model.decisions import MemberSize
from ensemble.model.errors import InputError
from ensemble.spec.model import EnsembleSpec, LimitsSpec, MemberSpec

_FOLLOWED = ("limits", "rules", "members", "logging", "directory")


class FileChanges(Struct, frozen=True):
    """The limits, the rules (as plain data) and the sizes of members."""

    limits: LimitsSpec
    rules: tuple[dict[str, Any], ...]
    sizes: tuple[MemberSize, ...]


def file_changes(old: EnsembleSpec, new: EnsembleSpec) -> FileChanges:
    """What a run of the file `old` follows of `new`: limits, rules and sizes of members.

    Raises `InputError` where anything else is different, and names it.
    """
    refused = not_followed(old, new)
    if refused:
        raise InputError(
            f"a run that goes on follows changes of limits, rules and sizes of members, not of {', '.join(refused)}; "
            "start another run for that"
        )
    sizes = tuple(MemberSize(name, one.nodes, one.min_nodes, one.max_nodes) for name, one in new.members.items())
    return FileChanges(new.limits, tuple(to_builtins(rule) for rule in new.rules), sizes)


def not_followed(old: EnsembleSpec, new: EnsembleSpec) -> list[str]:
    """What is different and cannot change while a run goes on: keys of the file, and members as `members.NAME`."""
    found = [field.name for field in structs.fields(old) if field.name not in _FOLLOWED]
    found = [name for name in found if getattr(old, name) != getattr(new, name)]
    names = dict.fromkeys((*old.members, *new.members))
    return found + [f"members.{name}" for name in names if _unsized(old, name) != _unsized(new, name)]


def _unsized(spec: EnsembleSpec, name: str) -> MemberSpec | None:
    member = spec.members.get(name)
    return structs.replace(member, nodes=1, min_nodes=0, max_nodes=0) if member is not None else None
