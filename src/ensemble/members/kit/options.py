"""Options of members as the file gives them. A misspelt name is refused with the nearest valid one."""

from __future__ import annotations

__all__ = ["check_options", "is_yes", "seconds"]

from collections.abc import Collection, Mapping
from typing import Any

from ensemble.model.errors import InputError, MemberError
from ensemble.spec.tree import nearest
from ensemble.spec.units import parse_duration


def check_options(given: Mapping[str, Any], known: Collection[str], member: str) -> None:
    """Raise `MemberError` for an option that a kind of member does not have, with the nearest one that it has.

    `member` is the kind as a sentence names it: `a Slurm member`.
    """
    for name in given:
        if name not in known:
            meant = nearest(name, known)
            hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(sorted(known))}"
            raise MemberError(f"unknown option {name!r} of {member}; {hint}")


def is_yes(given: object) -> bool:
    """The truth value of an option, which may have come as a word: `no`, `off`, `false` and `0` are false."""
    return str(given).lower() not in ("false", "no", "off", "0")


def seconds(given: Any, where: str) -> float:
    """The seconds that an option asks for: a positive number, or text such as `30s`.

    Raises `MemberError`, naming the option by `where`.
    """
    try:
        value = parse_duration(given) if isinstance(given, str) else given
    except InputError as error:
        raise MemberError(f"{where}: {error}") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise MemberError(f"{where}: expected a time such as 30s, found {given!r}")
    return float(value)
