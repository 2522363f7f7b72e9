"""What a registry holds, as the OCI image specification 1.1 writes it: descriptors, manifests and indexes."""

from __future__ import annotations

__all__ = ["EMPTY", "INDEX", "MANIFEST", "Descriptor", "Index", "Manifest", "digest_of", "manifest_of"]

from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"


def digest_of(content: bytes) -> str:
    """The digest by which a registry knows this content."""
    return f"sha256:{sha256(content).hexdigest()}"


def _always(value: Any) -> Any:
    """A default that is written all the same: what has a factory is not left out."""
    return msgspec.field(default_factory=lambda: value)


class Descriptor(Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """What a blob or a manifest is, without its content. `size` is in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    artifact_type: str = ""

    @classmethod
    def of(cls, media_type: str, content: bytes, **more: Any) -> Descriptor:
        """The descriptor of this content."""
        return cls(media_type=media_type, digest=digest_of(content), size=len(content), **more)

    @property
    def title(self) -> str:
        """The name of the file that it becomes when it is pulled, or nothing."""
        return self.annotations.get("org.opencontainers.image.title", "")


EMPTY: Final = Descriptor.of("application/vnd.oci.empty.v1+json", b"{}")
"""The configuration of an artifact that has none; its content is `{}`."""


class Manifest(Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """An artifact: its kind, its files, and what it is about (`subject`)."""

    schema_version: int = _always(2)
    media_type: str = _always(MANIFEST)
    artifact_type: str = ""
    config: Descriptor = _always(EMPTY)
    layers: tuple[Descriptor, ...] = _always(())
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}

    def encode(self) -> bytes:
        """Its JSON: the same bytes for the same manifest."""
        return msgspec.json.encode(self)


def manifest_of(content: bytes) -> Manifest:
    """A manifest from its JSON; an empty one where it is something else, such as an index."""
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError:
        return Manifest()


class Index(Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """A list of manifests, here those that are about one subject."""

    schema_version: int = _always(2)
    media_type: str = _always(INDEX)
    manifests: tuple[Descriptor, ...] = _always(())
    annotations: dict[str, str] = {}

    def encode(self) -> bytes:
        """Its JSON."""
        return msgspec.json.encode(self)
