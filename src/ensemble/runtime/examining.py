"""What is wrong with an ensemble, or looks so, before anything is spent on it."""

from __future__ import annotations

__all__ = ["examine"]

import os
from collections.abc import Iterator, Mapping
from typing import Final

from ensemble.members.kinds import Traits, member_kinds, traits_of
from ensemble.model.errors import Problem, SpecError
from ensemble.model.placement import Size
from ensemble.runtime.opening import members_of
from ensemble.spec.check import check
from ensemble.spec.model import EnsembleSpec, MemberSpec
from ensemble.spec.nodes import Place
from ensemble.spec.tree import nearest

_UNLESS_STEERED: Final = frozenset({"nothing-runs"})
"""Findings that do not hold where a script submits jobs."""


def examine(
    spec: EnsembleSpec, places: Mapping[str, Place] | None = None, *, steered: bool = False, final: bool = False
) -> list[Problem]:
    """What looks wrong with an ensemble on this machine, as warnings. Raises `SpecError` for what cannot work.

    `places` say where in its file each value stands. `steered`: a script submits jobs beside the rules. `final`: no
    command line adds anything, so that a group without an option that its jobs need cannot work.
    """
    members = members_of(spec)
    kinds = {name: traits_of(member.kind) or Traits() for name, member in members.items()}
    # what a file says of another queue need not be all of it
    sizes = {name: _size(members[name]) for name, kind in kinds.items() if kind.own_nodes}
    fixed = frozenset(name for name, kind in kinds.items() if kind.fixed_size)
    errors: list[Problem] = []
    warnings: list[Problem] = []
    first = _first_places(places or {})
    for found in check(spec, sizes, fixed):
        if steered and found.code in _UNLESS_STEERED:
            continue
        place = _place_of(found.where, first)
        problem = Problem(found.message, place.file, place.line, place.column, found.where, found.hint)
        (errors if found.error else warnings).append(problem)
    errors += _strange_launchers(spec, kinds, first)
    (errors if final else warnings).extend(_missing_options(spec, kinds, first))
    if errors:
        raise SpecError(errors)
    return warnings + list(_strange_options(spec, first))


def _size(member: MemberSpec) -> Size:
    """The most that a member with nodes of its own can have; where the file says no cores, they are this machine's."""
    cores = member.cores or len(os.sched_getaffinity(0))
    return Size(max(member.nodes, member.max_nodes), cores, member.gpus)


def _first_places(places: Mapping[str, Place]) -> dict[str, Place]:
    """The place of every value, and of what has none itself that of the first value inside it."""
    first = dict(places)
    for name, place in places.items():
        while name := name[: max(name.rfind("."), name.rfind("["), 0)]:
            first.setdefault(name, place)
    return first


def _place_of(where: str, places: Mapping[str, Place]) -> Place:
    """The place of a value, or of what holds it."""
    while where and where not in places:
        where = where.rpartition(".")[0]
    return places.get(where, Place())


def _strange_launchers(
    spec: EnsembleSpec, kinds: Mapping[str, Traits], places: Mapping[str, Place]
) -> Iterator[Problem]:
    """Launchers that no member has on which the group may run: its jobs would all fail there."""
    for number, group in enumerate(spec.jobs):
        if group.launcher == "auto":
            continue
        names = [group.member] if group.member in kinds else list(kinds)
        known = [kinds[name].launchers for name in names]
        if any(launchers is None or group.launcher in launchers for launchers in known):
            continue
        where = f"jobs[{number}].launcher"
        place = _place_of(where, places)
        there = ", ".join(dict.fromkeys(name for launchers in known for name in launchers or ()))
        text = f"no member that this group may run on has the launcher {group.launcher!r}"
        yield Problem(text, place.file, place.line, place.column, where, f"there are auto, {there}")


def _missing_options(spec: EnsembleSpec, kinds: Mapping[str, Traits], places: Mapping[str, Place]) -> Iterator[Problem]:
    """Groups without an option that every member on which they may run needs: it would refuse all of their jobs."""
    members = members_of(spec)
    for number, group in enumerate(spec.jobs):
        names = [group.member] if group.member in kinds else list(kinds)
        lacks = [
            [
                one
                for one in kinds[name].needed_options
                if not (group.options.get(one) or members[name].options.get(one))
            ]
            for name in names
        ]
        if not lacks or not all(lacks):
            continue
        where = f"jobs[{number}]"
        place = _place_of(where, places)
        text = f"no member can run group {group.name!r}, because its jobs have no {lacks[0][0]}"
        hint = f"Say `{lacks[0][0]}` in the options of the group or of its member."
        yield Problem(text, place.file, place.line, place.column, where, hint)


def _strange_options(spec: EnsembleSpec, places: Mapping[str, Place]) -> Iterator[Problem]:
    """Options of a group that no kind of member has; where a kind does not say what it has, nobody can tell.

    An option of another kind than the members' is no mistake: the same file runs elsewhere too.
    """
    if not any(group.options for group in spec.jobs):
        return
    known: set[str] = set()
    for kind in {*member_kinds(), *(member.kind for member in members_of(spec).values())}:
        traits = traits_of(kind)
        if traits is None:
            # of no use here, so no member is of it
            continue
        if traits.group_options is None:
            return
        known.update(traits.group_options)
    for number, group in enumerate(spec.jobs):
        for name in group.options:
            if name not in known:
                where = f"jobs[{number}].options.{name}"
                place = _place_of(where, places)
                meant = nearest(name, known)
                hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(sorted(known))}"
                text = f"no member has an option {name!r} for its jobs"
                yield Problem(text, place.file, place.line, place.column, where, hint)
