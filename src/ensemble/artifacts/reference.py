"""References to what a registry holds, such as `registry.example.org:5000/study/run:tag@sha256:...`.

The grammar is that of the OCI distribution specification 1.1 (names, tags, digests).
"""

from __future__ import annotations

__all__ = ["Reference"]

import re
from typing import Final

from msgspec import Struct

from ensemble.model.errors import InputError

_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")


class Reference(Struct, frozen=True):
    """A repository of a registry, with the tag or digest of one thing in it; both may be empty."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference. Raises `InputError` with what is wrong with it."""
        rest, _, digest = text.removeprefix("oci://").partition("@")
        host, slash, name = rest.partition("/")
        name, _, tag = name.partition(":")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            raise InputError(f"{text!r} names no registry; write HOST/REPOSITORY[:TAG], as registry.example.org/study")
        if not _HOST.fullmatch(host):
            raise InputError(f"{text!r}: {host!r} is not a host")
        if not _NAME.fullmatch(name):
            lower = f"; did you mean {name.lower()!r}?" if _NAME.fullmatch(name.lower()) else ""
            raise InputError(
                f"{text!r}: {name!r} is not a repository: words of a-z and 0-9, joined by one of . _ - and /{lower}"
            )
        if tag and not _TAG.fullmatch(tag):
            raise InputError(f"{text!r}: {tag!r} is not a tag: at most 128 letters, digits, dots, dashes, underscores")
        if digest and not _DIGEST.fullmatch(digest):
            raise InputError(f"{text!r}: {digest!r} is not a digest such as sha256: and 64 hexadecimal digits")
        return cls(host, name, tag, digest)

    @property
    def repository_name(self) -> str:
        """Host and repository, without tag and digest."""
        return f"{self.host}/{self.repository}"

    @property
    def named(self) -> str:
        """What a registry is asked for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository_name}{tag}{f'@{self.digest}' if self.digest else ''}"
