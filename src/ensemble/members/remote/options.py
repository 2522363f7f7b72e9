"""The options of a remote member in the file."""

from __future__ import annotations

__all__ = ["RemoteOptions", "read_options"]

import difflib
from typing import Any, Final

from msgspec import Struct

from ensemble.members.kit.options import seconds
from ensemble.model.errors import MemberError, MemberUnavailable
from ensemble.session.limits import PING_SECONDS, SILENCE_SECONDS
from ensemble.session.security import Security


class RemoteOptions(Struct, frozen=True):
    """Options of `kind: remote`.

    `address` is that of an agent that listens; without one the agent dials the service. `kind` is the queue it must
    have (`inner` in the file; empty: any). `wait`: seconds that the first agent may take to come; `outage`: seconds
    without a stream after which the member counts as down.
    """

    address: str
    kind: str
    security: Security
    wait: float
    outage: float
    ping: float
    silence: float
    inner: dict[str, Any]


WAIT_DIALLED: Final = 20.0
WAIT_DIALLING: Final = 3600.0
"""An agent that dials may itself wait in a queue."""

OUTAGE: Final = 15.0
"""With `SILENCE_SECONDS` it makes the 30 s within which a peer that stopped is reported as down."""

_TEXTS: Final = ("address", "inner", "token_file", "ca", "cert", "key", "server_name")
_TIMES: Final = ("wait", "outage", "ping", "silence")


def read_options(options: dict[str, Any], member: str) -> RemoteOptions:
    """Read them; `options` under that name (or with a name not known here) are the inner member's.

    Raises `MemberUnavailable` for a value that cannot be used.
    """
    texts: dict[str, str] = {}
    for name in _TEXTS:
        value = options.get(name, "")
        if not isinstance(value, str):
            raise MemberUnavailable(f"members.{member}.{name}: expected text, found {value!r}")
        texts[name] = value
    address = texts["address"]
    times = {
        "wait": WAIT_DIALLED if address else WAIT_DIALLING,
        "outage": OUTAGE,
        "ping": PING_SECONDS,
        "silence": SILENCE_SECONDS,
    }
    for name in _TIMES:
        if name in options:
            try:
                times[name] = seconds(options[name], f"members.{member}.{name}")
            except MemberError as error:
                raise MemberUnavailable(str(error)) from error
    inner = options.get("options", {})
    if not isinstance(inner, dict):
        raise MemberUnavailable(f"members.{member}.options: expected the queue's options, found {inner!r}")
    known = (*_TEXTS, *_TIMES, "options")
    others = {name: value for name, value in options.items() if name not in known}
    for name in others:
        near = difflib.get_close_matches(name, known, 1, 0.8)
        if near:
            raise MemberUnavailable(f"members.{member}.{name}: there is no such option; did you mean {near[0]}?")
    security = Security(texts["ca"], texts["cert"], texts["key"], texts["token_file"], texts["server_name"])
    return RemoteOptions(address, texts["inner"], security, **times, inner={**others, **inner})
