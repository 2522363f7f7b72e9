"""Whether this run's jobs are in the Flux instance at hand, or in another that may still live."""

from __future__ import annotations

__all__ = ["PREVIOUS", "settle"]

import os
import socket
from typing import Final

from ensemble.members.flux.records import Instance, Records
from ensemble.model.errors import MemberError

PREVIOUS: Final = "ENSEMBLE_FLUX_PREVIOUS"
"""Set to `gone` by who knows that the instance which had this run's jobs has ended."""


def settle(records: Records, mark: str, uri: str) -> None:
    """See that our jobs, if there are any, are in the instance with this mark, and write it down. Blocks.

    `uri` is the address that it was asked for by, empty for that of `FLUX_URI`. Raises `MemberError` when the jobs may
    be elsewhere, and run; `OSError`.
    """
    here = Instance(mark, uri or os.environ.get("FLUX_URI", ""), socket.gethostname())
    before = records.instance()
    if before is not None:
        if before.mark == mark:
            return
        if os.environ.get(PREVIOUS) != "gone" and _may_live(before, here):
            raise MemberError(
                f"this run's jobs are with another Flux instance ({before.uri} on {before.host}): resume it there, "
                f"or, if that instance has ended, with {PREVIOUS}=gone in the environment"
            )
    records.moved(here)


def _may_live(before: Instance, here: Instance) -> bool:
    if before.host != here.host:
        return True
    # at one address there is one instance: where this one answers, the former has ended
    return before.uri != here.uri and _reachable(before.uri)


def _reachable(uri: str) -> bool:
    """Whether somebody listens at an address; where that cannot be seen from here (`ssh://`), it is believed."""
    kind, _, path = uri.partition("://")
    if kind != "local":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
