"""Saving a package of a run: it is pushed, read back and compared."""

from __future__ import annotations

__all__ = ["Pushed", "push", "verify"]

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ensemble.artifacts.archive import unpack
from ensemble.artifacts.manifest import EMPTY, MANIFEST, Descriptor, Manifest, digest_of, manifest_of
from ensemble.artifacts.naming import PREFIX
from ensemble.artifacts.packing import ARTIFACT_TYPE, JOURNAL, Package
from ensemble.artifacts.reference import Reference
from ensemble.artifacts.referrers import attach
from ensemble.artifacts.registry import NotThere, Registry
from ensemble.journal import last_record
from ensemble.model.errors import ArtifactError, InputError, Refused


class Pushed(Struct, frozen=True):
    """Where a run is.

    `reference` has the tag of its own and the digest; `places` are all tags, in each repository that holds it. `sent`:
    bytes that the registries did not have yet; `size`: bytes in all.
    """

    reference: Reference
    places: tuple[Reference, ...]
    sent: int
    size: int


def push(package: Package, where: str, image: str = "", *, plain_http: bool = False, force: bool = False) -> Pushed:
    """Push a run to a repository, and attach it to an image.

    The run always gets the tag that is made from its facts. A tag that `where` has is given in addition; where it is
    that of something else this raises `Refused`, unless `force`. An image in another repository gets the run there too,
    for only there it is looked for. Raises `ArtifactError` where a registry fails.
    """
    reference = Reference.parse(where)
    if reference.digest:
        raise InputError(f"{where}: a digest says what is there already; push to a repository or a tag")
    subject, home = _subject(image, plain_http)
    manifest = replace(package.manifest, subject=subject)
    own = replace(reference, tag=package.facts.tag(digest_of(manifest.encode())), digest=digest_of(manifest.encode()))
    places = [own]
    with Registry(reference.host, plain_http=plain_http) as registry:
        if reference.tag and reference.tag != own.tag:
            if not force:
                _refuse_taken(registry, reference, own.digest)
            places.append(replace(reference, digest=own.digest))
        sent = _store(registry, package, manifest, places)
    if home is not None and home.repository_name != reference.repository_name:
        places.append(replace(home, tag=own.tag, digest=own.digest))
        mount = reference.repository if home.host == reference.host else ""
        with Registry(home.host, plain_http=plain_http) as registry:
            sent += _store(registry, package, manifest, places[-1:], mount)
    size = sum(one.size for one in (manifest.config, *manifest.layers))
    return Pushed(own, tuple(places), sent, size)


def _subject(image: str, plain_http: bool) -> tuple[Descriptor | None, Reference | None]:
    """The image that a run is about, and where it is."""
    if not image:
        return None, None
    found = Reference.parse(image)
    with Registry(found.host, plain_http=plain_http) as registry:
        about, _ = registry.manifest(found.repository, found.named)
    return about, found


def _refuse_taken(registry: Registry, reference: Reference, digest: str) -> None:
    try:
        there, content = registry.manifest(reference.repository, reference.tag)
    except NotThere:
        return
    if there.digest != digest:
        manifest = manifest_of(content)
        run = manifest.annotations.get(f"{PREFIX}run", "") if manifest.artifact_type == ARTIFACT_TYPE else ""
        holds = f"the run {run}" if run else "something else"
        raise Refused(
            f"{reference} holds {holds} ({there.digest[:19]}); leave the tag out, for each run gets one of its own, "
            "or replace it with `--force`"
        )


def _store(
    registry: Registry, package: Package, manifest: Manifest, places: Sequence[Reference], mount: str = ""
) -> int:
    """Push everything to one repository, the tags last; the bytes that were sent."""
    repository = places[0].repository
    sent = registry.push_blob(repository, EMPTY, b"{}")
    for layer in manifest.layers:
        sent += registry.push_blob(repository, layer, package.files[layer.digest], mount)
    attach(registry, repository, manifest)
    for place in places:
        registry.push_manifest(repository, place.tag, MANIFEST, manifest.encode())
    return sent


def verify(package: Package, pushed: Pushed, *, plain_http: bool = False) -> None:
    """Read back everything that was pushed, and compare. Raises `ArtifactError` with the first difference."""
    read: set[str] = set()
    for place in pushed.places:
        with Registry(place.host, plain_http=plain_http) as registry:
            there, content = registry.manifest(place.repository, place.tag)
            if there.digest != place.digest:
                raise ArtifactError(
                    f"{place.repository_name}:{place.tag} is not what was pushed: it is {there.digest} by now. Another "
                    f"push has taken the tag; the run is at {pushed.reference}"
                )
            if place.repository_name not in read:
                read.add(place.repository_name)
                _read_back(registry, place.repository, manifest_of(content), package)


def _read_back(registry: Registry, repository: str, manifest: Manifest, package: Package) -> None:
    for layer in manifest.layers:
        with tempfile.TemporaryDirectory(prefix="ensemble-verify-") as name:
            folder = Path(name)
            keep = layer.media_type == JOURNAL
            with (folder / "layer" if keep else Path(os.devnull)).open("w+b") as file:
                registry.pull_blob(repository, layer, file)
            if keep:
                unpack(folder / "layer", folder / "run")
                _same_journal(folder / "run", package)


def _same_journal(run_dir: Path, package: Package) -> None:
    """The copy of the journal ends as the run did."""
    last = last_record(run_dir)
    if last is None or last.seq != package.records:
        raise ArtifactError(f"the journal that was read back ends with record {last.seq if last else 0}")
