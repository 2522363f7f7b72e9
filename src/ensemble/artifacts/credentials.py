"""Who we are at a registry: the files and helper programs that `docker login`, `podman login` and `oras login` fill.

The format is that of Docker's `config.json`; helpers speak the protocol of docker-credential-helpers.
"""

from __future__ import annotations

__all__ = ["Credentials", "credentials"]

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ensemble.model.errors import InputError

HELPER_SECONDS: Final = 30.0
"""How long a helper program may take."""

_DOCKER_HUB: Final = {"docker.io": "https://index.docker.io/v1/", "registry-1.docker.io": "https://index.docker.io/v1/"}


class Credentials(Struct, frozen=True):
    """A user and a password, or an identity token that is exchanged for others; empty: nobody in particular."""

    user: str = ""
    password: str = ""
    token: str = ""

    def __bool__(self) -> bool:
        return bool(self.user or self.token)

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"

    @property
    def basic(self) -> str:
        """The header of HTTP's basic authentication (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def credentials(host: str) -> Credentials:
    """What this user's files and helpers say of a registry. Raises `InputError` for a file that cannot be read."""
    for path in _files():
        try:
            config = json.loads(path.read_bytes())
            found = _from(config, host) if isinstance(config, dict) else Credentials()
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: no credentials can be read from it: {error}") from error
        if found:
            return found
    return Credentials()


def _files() -> Iterator[Path]:
    """The files that may know it, the most specific first."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    folder = os.environ.get("DOCKER_CONFIG")
    yield (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"


def _from(config: dict[str, Any], host: str) -> Credentials:
    names = [host, f"https://{host}", f"http://{host}", *([_DOCKER_HUB[host]] if host in _DOCKER_HUB else [])]
    helpers = config.get("credHelpers") or {}
    helper = next((helpers[name] for name in names if name in helpers), config.get("credsStore", ""))
    if helper:
        for name in names:
            if found := _ask(str(helper), name):
                return found
    known = config.get("auths") or {}
    entry: dict[str, Any] = next((known[name] for name in (*names, f"https://{host}/v2/") if name in known), {})
    user, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"]).decode().rstrip("\0").partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"the entry of {host} holds no base64 text of USER:PASSWORD") from error
    return Credentials(user, password, str(entry.get("identitytoken", "")))


def _ask(helper: str, server: str) -> Credentials:
    """What a helper program knows of a server; nothing where it knows nothing. Raises `InputError` where it fails."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(  # noqa: S603 - the program is the user's own choice
            [program, "get"], input=server, capture_output=True, text=True, timeout=HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise InputError(f"the configuration names the credential helper {program}, which is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{program} has not answered within {HELPER_SECONDS:g} s") from None
    said = done.stdout.strip() or done.stderr.strip()
    if done.returncode:
        if "not found" in said:
            return Credentials()
        raise InputError(f"{program}: {said or f'exit code {done.returncode}'}")
    found = json.loads(done.stdout)
    user, secret = str(found.get("Username", "")), str(found.get("Secret", ""))
    return Credentials(token=secret) if user == "<token>" else Credentials(user, secret)
