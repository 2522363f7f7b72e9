"""Getting a saved run out of a registry: all of it as a run of this machine, or its journal to look at."""

from __future__ import annotations

__all__ = ["Fetched", "fetch", "look_at", "runs_in"]

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ensemble.artifacts.archive import unpack
from ensemble.artifacts.manifest import Descriptor, Manifest, manifest_of
from ensemble.artifacts.naming import PREFIX
from ensemble.artifacts.packing import ARTIFACT_TYPE, ENVIRONMENT, JOURNAL
from ensemble.artifacts.reference import Reference
from ensemble.artifacts.referrers import attached
from ensemble.artifacts.registry import Registry
from ensemble.model.errors import ArtifactError, InputError
from ensemble.runs.local import LocalRun
from ensemble.runtime import index

_ARCHIVE: Final = ".tar.gz"


class Fetched(Struct, frozen=True):
    """A run that came from a registry. `was_here`: the same run was there already, and was left alone."""

    reference: str
    path: str
    annotations: dict[str, str]
    was_here: bool = False


def fetch(where: str, to: str = "", *, plain_http: bool = False) -> Fetched:
    """Make a run of this machine from what a reference names; `to` is its directory, by default `runs/<its name>`.

    Nothing is left of one that cannot be had whole. Raises `ArtifactError`, and `InputError` where the directory holds
    something else.
    """
    with _opened(where, plain_http) as (registry, reference, manifest):
        name = manifest.annotations.get(f"{PREFIX}run", "run")
        target = Path(to or Path("runs", Path(name).name)).absolute()
        found = f"{reference.repository_name}@{reference.digest}"
        mark = target / "fetched.json"
        if target.exists():
            if mark.is_file() and found.encode() in mark.read_bytes():
                return Fetched(found, str(target), manifest.annotations, was_here=True)
            raise InputError(f"{target} is there already, and is not this run; `--to DIR` names another directory")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            fresh = Path(folder) / "run"
            _pull(registry, reference, manifest, fresh)
            try:
                (fresh / mark.name).write_bytes(msgspec.json.encode({"reference": found}) + b"\n")
                fresh.rename(target)
            except OSError as error:
                raise ArtifactError(f"{target}: {error.strerror}; nothing of the run is kept") from error
    index.remember(target)
    return Fetched(found, str(target), manifest.annotations)


@contextmanager
def look_at(where: str, *, plain_http: bool = False) -> Iterator[tuple[LocalRun, Fetched]]:
    """A saved run to be asked, without what its jobs wrote; it is removed at the end of the block."""
    with (
        _opened(where, plain_http) as (registry, reference, manifest),
        tempfile.TemporaryDirectory(prefix="ensemble-replay-") as folder,
    ):
        name = manifest.annotations.get(f"{PREFIX}run", "run")
        target = Path(folder) / Path(name).name
        _pull(registry, reference, manifest, target, lambda layer: layer.media_type in (JOURNAL, ENVIRONMENT))
        found = f"{reference.repository_name}@{reference.digest}"
        yield LocalRun(target), Fetched(found, str(target), manifest.annotations)


def runs_in(where: str, *, plain_http: bool = False) -> Iterator[tuple[Reference, dict[str, str]]]:
    """The runs that a repository holds (each once) or that are attached to an image, with their annotations."""
    reference = Reference.parse(where)
    with Registry(reference.host, plain_http=plain_http) as registry:
        if reference.tag or reference.digest:
            about, _ = registry.manifest(reference.repository, reference.named)
            for entry in attached(registry, reference.repository, about.digest):
                if entry.artifact_type == ARTIFACT_TYPE:
                    yield Reference(reference.host, reference.repository, digest=entry.digest), entry.annotations
            return
        known: set[str] = set()
        for tag in sorted(registry.tags(reference.repository)):
            about, content = registry.manifest(reference.repository, tag)
            manifest = manifest_of(content)
            if manifest.artifact_type == ARTIFACT_TYPE and about.digest not in known:
                known.add(about.digest)
                yield Reference(reference.host, reference.repository, digest=about.digest), manifest.annotations


@contextmanager
def _opened(where: str, plain_http: bool) -> Iterator[tuple[Registry, Reference, Manifest]]:
    reference = Reference.parse(where)
    with Registry(reference.host, plain_http=plain_http) as registry:
        about, content = registry.manifest(reference.repository, reference.named)
        manifest = manifest_of(content)
        if manifest.artifact_type != ARTIFACT_TYPE:
            runs = attached(registry, reference.repository, about.digest)
            there = ", ".join(f"{reference.repository_name}@{entry.digest}" for entry in runs[:3])
            hint = f"; attached to it: {there}" if there else ""
            raise InputError(f"{where} is not a run that was saved by `ensemble save`{hint}")
        yield registry, msgspec.structs.replace(reference, digest=about.digest), manifest


def _pull(
    registry: Registry,
    reference: Reference,
    manifest: Manifest,
    target: Path,
    wanted: Callable[[Descriptor], bool] = lambda _: True,
) -> None:
    """Write the layers of a run: archives are unpacked, files stand beside them under their titles."""
    target.mkdir()
    for layer in filter(wanted, manifest.layers):
        name = os.path.basename(layer.title)
        if not name:
            continue
        path = target.with_name(f"{target.name}.{name}")  # beside it, since what was unpacked may hold links
        try:
            with path.open("w+b") as file:
                registry.pull_blob(reference.repository, layer, file)
            if name.endswith(_ARCHIVE):
                unpack(path, target)
                path.unlink()
            else:
                path.rename(target / name)
        except OSError as error:
            raise ArtifactError(f"{error.filename or target}: {error.strerror}; nothing of the run is kept") from error
    if not (target / "journal").is_dir():
        raise ArtifactError(f"{reference} holds no journal")
