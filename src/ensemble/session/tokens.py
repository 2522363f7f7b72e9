"""Tokens: who may open which session, until when; signed by the key of the server.

A token is `ens1.<payload>.<signature>`: the payload is JSON in URL-safe base64, the signature HMAC-SHA256 over all
that is before it (RFC 2104, through the standard library). It is a bearer secret: it goes only over a Unix socket,
loopback, or a TLS connection whose certificate was verified.
"""

from __future__ import annotations

__all__ = ["ANY", "Claims", "Held", "SignedBy", "TokenError", "Verifier", "issue", "new_key", "read_secret"]

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from ensemble.model.errors import EnsembleError, InputError

PREFIX: Final = "ens1"
ANY: Final = "*"
"""Stands for every run, or every member."""

KEY_BYTES: Final = 32
LEEWAY_SECONDS: Final = 60.0
"""Clocks of two hosts may differ by that much."""

LONGEST: Final = 4096
"""No token is longer."""

Role = Literal["agent", "service", "user", "admin"]


class TokenError(EnsembleError):
    """A token is missing, not ours, expired, or for something else. `bound`: it is good, but not for this."""

    def __init__(self, message: str, *, bound: bool = False) -> None:
        self.bound = bound
        super().__init__(message)


class Claims(Struct, frozen=True, forbid_unknown_fields=False):
    """What a token says. `run` and `member` may be `*`; `expires` is in seconds since 1970 (0: never).

    `subject` is the person or program it was given to, for the journal; `id` names the token, for revocation.
    """

    role: Role
    run: str = ANY
    member: str = ANY
    expires: float = 0.0
    subject: str = ""
    id: str = ""

    def require(self, role: Role, run: str = "", member: str = "") -> None:
        """Raises `TokenError` (`bound`) unless it covers this role, run and member; an empty name asks for nothing."""
        if self.role not in (role, "admin"):
            raise TokenError(f"the token is for role {self.role!r}, and {role!r} is needed", bound=True)
        if run and self.run not in (ANY, run):
            raise TokenError(f"the token is for run {self.run!r}, not for {run!r}", bound=True)
        if member and self.member not in (ANY, member):
            raise TokenError(f"the token is for member {self.member!r}, not for {member!r}", bound=True)


def new_key() -> bytes:
    """A fresh signing key."""
    return secrets.token_bytes(KEY_BYTES)


def issue(key: bytes, claims: Claims) -> str:
    """Sign claims. Raises `ValueError` for a key that is too short to be one."""
    if len(key) < KEY_BYTES:
        raise ValueError(f"a key of {len(key)} bytes; {KEY_BYTES} are needed")
    if not claims.id:
        claims = msgspec.structs.replace(claims, id=secrets.token_hex(6))
    body = f"{PREFIX}.{_encode(msgspec.json.encode(claims))}"
    return f"{body}.{_encode(_sign(key, body))}"


def claims_of(token: str) -> Claims:
    """What a token says, without any proof that it is true. Raises `TokenError` when it is none."""
    parts = token.split(".")
    if len(token) > LONGEST or len(parts) != 3 or parts[0] != PREFIX:
        raise TokenError("this is no token of ensemble")
    try:
        return msgspec.json.decode(_decode(parts[1]), type=Claims)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise TokenError("the token is damaged") from error


class Verifier(Protocol):
    """Decides whether a token is good."""

    def verify(self, token: str) -> Claims:
        """Return what a good token says. Raises `TokenError`."""
        ...


class SignedBy:
    """Takes tokens that our key signed (the service's way)."""

    def __init__(self, key: bytes, revoked: frozenset[str] = frozenset()) -> None:
        """`revoked`: ids of tokens that are good no more."""
        if len(key) < KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes; {KEY_BYTES} are needed")
        self._key = key
        self.revoked = revoked

    def verify(self, token: str) -> Claims:
        """Return what a token says. Raises `TokenError`."""
        if not token:
            raise TokenError("a token is needed, and none came")
        if len(token) > LONGEST or not token.isascii():
            raise TokenError("this is no token of ensemble")
        body, _, signature = token.rpartition(".")
        # the signature first: nothing of a forged token is looked at
        if not hmac.compare_digest(_encode(_sign(self._key, body)), signature):
            raise TokenError("the token was not issued by this server (or its key was changed)")
        claims = claims_of(token)
        if claims.id in self.revoked:
            raise TokenError("the token was revoked")
        _still_good(claims)
        return claims


class Held:
    """Takes exactly one token: the one that we hold ourselves (the way of an agent that listens)."""

    def __init__(self, token: str) -> None:
        """Raises `TokenError` when it is empty, or shorter than 16 characters, which anybody could guess."""
        if len(token) < 16:
            raise TokenError("a token of fewer than 16 characters can be guessed")
        self._token = token.encode()
        try:
            self._claims: Claims | None = claims_of(token)
        except TokenError:
            self._claims = None

    def verify(self, token: str) -> Claims:
        """Return what the token says; a secret that says nothing covers everything. Raises `TokenError`."""
        if not token:
            raise TokenError("a token is needed, and none came")
        if not hmac.compare_digest(token.encode(), self._token):
            raise TokenError("the token is not the one that is expected here")
        if self._claims is None:
            return Claims("admin")
        _still_good(self._claims)
        # it was made for this agent; whoever else has it is the service
        return msgspec.structs.replace(self._claims, role="admin")


def read_secret(path: str | Path) -> str:
    """A token or key from a file that only its owner can read. Raises `InputError`."""
    try:
        info = os.stat(path)
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from error
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise InputError(f"{path} can be read by others; `chmod 600 {path}`")
    if not text:
        raise InputError(f"{path} is empty; a token is expected in it")
    return text


def _still_good(claims: Claims) -> None:
    late = time.time() - claims.expires
    if claims.expires and late > LEEWAY_SECONDS:
        raise TokenError(f"the token expired {_ago(late)} ago; ask for a new one (`ensemble-server token`)")


def _ago(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _sign(key: bytes, body: str) -> bytes:
    return hmac.new(key, body.encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
