"""Agreeing on a version of the protocol."""

from __future__ import annotations

__all__ = ["agreed", "versions"]

from ensemble.session.limits import MIN_VERSION, VERSION
from ensemble.session.stream import ByeCode, Ended
from ensemble.session.v1 import session_pb2 as pb


def versions() -> dict[str, int]:
    """The fields of a hello with the versions that are spoken here."""
    return {"min_version": MIN_VERSION, "max_version": VERSION}


def agreed(hello: pb.AgentHello | pb.ServiceHello) -> int:
    """The version to speak with the sender of a hello. Raises `Ended` (`VERSION`) when there is none."""
    best = min(VERSION, hello.max_version)
    if best < max(MIN_VERSION, hello.min_version):
        ours = f"{MIN_VERSION} to {VERSION}" if MIN_VERSION < VERSION else str(VERSION)
        theirs = f"{hello.min_version} to {hello.max_version}"
        who = hello.software or "the other side"
        raise Ended(
            ByeCode.VERSION,
            f"no protocol version in common: this side speaks {ours}, {who} speaks {theirs}; upgrade the older one",
            permanent=True,
        )
    return best
