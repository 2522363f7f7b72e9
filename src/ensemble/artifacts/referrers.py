"""Which artifacts are about an image: the referrers API, and the tag that stands in for it where there is none.

A registry without the API has an index of an image's artifacts under a tag made from the image's digest (distribution
specification 1.1, "referrers tag schema"). Whoever attaches reads the index, adds an entry and writes it, and nothing
in the protocol keeps two of them apart. So each artifact first gets a tag of its own beside that index, which no other
writes. An index is made from these tags, and made again when there are more of them after it was written than before:
of two who attach at once, the one who writes last has either seen the other's tag, or sees it then.
"""

from __future__ import annotations

__all__ = ["attach", "attached"]

import contextlib
from collections.abc import Mapping
from typing import Final

import msgspec

from ensemble.artifacts.manifest import INDEX, MANIFEST, Descriptor, Index, Manifest, manifest_of
from ensemble.artifacts.registry import NotThere, Registry
from ensemble.model.errors import ArtifactError

ROUNDS: Final = 20
"""How often an index is made again before we say that too many attach at once."""


def attach(registry: Registry, repository: str, manifest: Manifest) -> None:
    """Store a manifest by its digest, so that it is found from its subject. Raises `ArtifactError`."""
    content = manifest.encode()
    entry = Descriptor.of(MANIFEST, content, artifact_type=manifest.artifact_type, annotations=manifest.annotations)
    tracked = registry.push_manifest(repository, entry.digest, MANIFEST, content)
    if manifest.subject is None or tracked or registry.referrers(repository, manifest.subject.digest) is not None:
        return
    index_tag = manifest.subject.digest.replace(":", "-")
    own = f"{index_tag}.{entry.digest.partition(':')[2][:12]}"
    registry.push_manifest(repository, own, MANIFEST, content)
    claims = _claims(registry, repository, index_tag, {})
    for _ in range(ROUNDS):
        known = {found.digest: found for found in _index(registry, repository, index_tag)}
        known |= {found.digest: found for found in (entry, *claims.values())}
        index = Index(manifests=tuple(known[digest] for digest in sorted(known)))
        registry.push_manifest(repository, index_tag, INDEX, index.encode())
        later = _claims(registry, repository, index_tag, claims)
        if later.keys() == claims.keys():
            return
        claims = later
    raise ArtifactError(f"{registry.host}/{repository}: too many artifacts are attached to {index_tag} at once")


def attached(registry: Registry, repository: str, digest: str) -> list[Descriptor]:
    """The artifacts that are about a manifest."""
    found = registry.referrers(repository, digest)
    return found if found is not None else _index(registry, repository, digest.replace(":", "-"))


def _claims(
    registry: Registry, repository: str, index_tag: str, known: Mapping[str, Descriptor]
) -> dict[str, Descriptor]:
    """The artifacts that are to be in an index, by their tags."""
    found = {}
    # a registry may list them in any order, and ignore where we wanted to begin
    for tag in registry.tags(repository, after=index_tag):
        if tag.startswith(f"{index_tag}."):
            # listed a moment before it can be read: its maker has yet to list them and to write the index
            with contextlib.suppress(NotThere):
                found[tag] = known.get(tag) or _entry(registry, repository, tag)
    return found


def _entry(registry: Registry, repository: str, name: str) -> Descriptor:
    about, content = registry.manifest(repository, name)
    manifest = manifest_of(content)
    return Descriptor(
        media_type=about.media_type,
        digest=about.digest,
        size=about.size,
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
    )


def _index(registry: Registry, repository: str, index_tag: str) -> list[Descriptor]:
    try:
        _, content = registry.manifest(repository, index_tag)
        return list(msgspec.json.decode(content, type=Index).manifests)
    except NotThere:
        return []
    except msgspec.MsgspecError as error:
        raise ArtifactError(f"{registry.host}/{repository}:{index_tag} is no index of artifacts: {error}") from error
