"""Tokens: who may open which session, until when; signed by the key of the server.

A token is a JSON Web Token (RFC 7519) with HMAC-SHA256. It is a bearer secret: it is sent only over a Unix socket,
loopback, or a TLS connection whose certificate was verified.
"""

from __future__ import annotations

__all__ = ["ANY", "Claims", "Held", "SignedBy", "TokenError", "Verifier", "issue", "new_key", "read_secret"]

import hmac
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import jwt
import msgspec
from msgspec import Struct

from ensemble.model.errors import EnsembleError, InputError

_ALGORITHM: Final = "HS256"
_NAMES: Final = {"expires": "exp", "subject": "sub", "id": "jti"}
"""Our fields and the registered names for them (RFC 7519, section 4.1)."""
_OLD: Final = "ens1."
"""How tokens of version 0.1.0 begin."""
ANY: Final = "*"
"""Stands for every run, or every member."""

KEY_BYTES: Final = 32
LEEWAY_SECONDS: Final = 60.0
"""Clocks of two hosts may differ by that much."""

LONGEST: Final = 4096
"""No token is longer."""

Role = Literal["agent", "service", "user", "admin"]


class TokenError(EnsembleError):
    """A token is missing, forged, expired, or for something else. `bound`: it is valid, but not for this."""

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
    plain = {_NAMES.get(name, name): value for name, value in msgspec.structs.asdict(claims).items()}
    if not claims.expires:
        del plain["exp"]
    return jwt.encode(plain, key, _ALGORITHM)


def claims_of(token: str, key: bytes = b"") -> Claims:
    """What a token says; without a key there is no proof that it is true. Raises `TokenError`."""
    if token.startswith(_OLD):
        raise TokenError("the token is of Ensemble 0.1.0; ask for a new one (`ensemble-server token`)")
    if len(token) > LONGEST or not token.isascii():
        raise TokenError("this is not a token of Ensemble")
    # our own check of the time says how long ago it was
    options: Any = {"verify_signature": bool(key), "verify_exp": False, "verify_sub": False}
    try:
        plain = jwt.decode(token, key, [_ALGORITHM], options)
        return msgspec.convert({name: plain[other] for name, other in _fields() if other in plain}, Claims)
    except jwt.InvalidSignatureError as error:
        raise TokenError("the token was not issued by this server, or the server's key has changed") from error
    except (jwt.InvalidTokenError, msgspec.ValidationError) as error:
        raise TokenError(f"this is not a token of Ensemble ({error})") from error


def _fields() -> list[tuple[str, str]]:
    return [(name, _NAMES.get(name, name)) for name in Claims.__struct_fields__]


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
            raise TokenError("a token is needed, and none was sent")
        claims = claims_of(token, self._key)
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
            raise TokenError("a token is needed, and none was sent")
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
