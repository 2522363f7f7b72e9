"""Saving a run: its archives are made, pushed, read back and compared."""

from __future__ import annotations

__all__ = [
    "ARTIFACT_TYPE",
    "JOURNAL",
    "RESULTS",
    "Package",
    "Pushed",
    "environment_of",
    "pack",
    "push",
    "run_of",
    "verify",
]

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ensemble import __version__
from ensemble.artifacts.archive import LeftOut, pack_journal, pack_outputs, unpack
from ensemble.artifacts.environment import environment_here
from ensemble.artifacts.manifest import EMPTY, MANIFEST, Descriptor, Manifest, digest_of
from ensemble.artifacts.naming import PREFIX, Facts, facts_of
from ensemble.artifacts.reference import Reference
from ensemble.artifacts.referrers import attach
from ensemble.artifacts.registry import NotThere, Registry
from ensemble.artifacts.secret import secrets_of
from ensemble.journal import last_record
from ensemble.model.errors import ArtifactError, InputError, Refused
from ensemble.runs.local import LocalRun

ARTIFACT_TYPE: Final = "application/vnd.flux-framework.ensemble.run.v1"
"""What a saved run is, for a registry and for `oras`."""

_MEDIA: Final = "application/vnd.flux-framework.ensemble."
ABOUT: Final = f"{_MEDIA}about.v1+json"
ENVIRONMENT: Final = f"{_MEDIA}environment.v1+json"
RESULTS: Final = f"{_MEDIA}results.v1.jsonl"
JOURNAL: Final = f"{_MEDIA}journal.v1.tar+gzip"
OUTPUTS: Final = f"{_MEDIA}outputs.v1.tar+gzip"

_TITLE: Final = "org.opencontainers.image.title"
_CREATED: Final = "org.opencontainers.image.created"


class Package(Struct, frozen=True):
    """A run, ready to be pushed: the manifest without a subject, and the file of each layer."""

    facts: Facts
    manifest: Manifest
    files: dict[str, Path]
    """The content by its digest."""
    records: int
    """How many the journal has."""
    left_out: tuple[LeftOut, ...] = ()


class Pushed(Struct, frozen=True):
    """Where a run is.

    `reference` has the tag of its own and the digest; `places` are all tags, in each repository that holds it. `sent`:
    bytes that the registries did not have yet; `size`: bytes in all.
    """

    reference: Reference
    places: tuple[Reference, ...]
    sent: int
    size: int


# ---- making ------------------------------------------------------------------------------------------


@contextmanager
def pack(run: LocalRun, environment: str = "") -> Iterator[Package]:
    """Make the archives of a run, in a directory that is removed at the end of the block.

    Raises `InputError` for a run that is not over, or that marks a secret whose value is not known here.
    """
    info = run.info()
    if info.state != "over":
        does = {"running": "is running", "draining": "is running", "starting": "is starting"}.get(info.state)
        raise InputError(
            f"run {run.name} {does or f'is not over (it is {info.state})'}: only a run that is over is saved"
            + ("" if does else f"; `ensemble resume {run.name}` continues it, `ensemble cancel {run.name}` ends it")
        )
    spec, status = run.spec(), run.status()
    secrets = secrets_of(spec)
    with _room(), tempfile.TemporaryDirectory(prefix="ensemble-save-") as name:
        folder = Path(name)
        pack_journal(run.run_dir, folder / "journal.tar.gz", secrets)
        left_out = [*_left_out_before(run.run_dir), *pack_outputs(run.run_dir, folder / "outputs.tar.gz", secrets)]
        with (folder / "results.jsonl").open("wb") as file:
            for row in run.results():
                file.write(secrets.out_of(json.dumps(row).encode()) + b"\n")
        _write(folder / "environment.json", environment_of(run))
        facts = facts_of(status.run, spec, status, environment)
        ended = status.started + status.elapsed
        about = {
            "run": status.run,
            "outcome": info.outcome,
            "reason": secrets.out_of(info.reason.encode()).decode(),
            "version": __version__,
            "started": status.started,
            "ended": ended,
            "jobs": {
                name: getattr(status.total, name) for name in ("submitted", "success", "failed", "cancelled", "lost")
            },
            "facts": facts,
            "left_out": left_out,
        }
        _write(folder / "about.json", about)
        kinds = {
            "about.json": ABOUT,
            "results.jsonl": RESULTS,
            "environment.json": ENVIRONMENT,
            "journal.tar.gz": JOURNAL,
            "outputs.tar.gz": OUTPUTS,
        }
        layers = tuple(_layer(folder / name, kind) for name, kind in kinds.items())
        manifest = Manifest(
            artifact_type=ARTIFACT_TYPE,
            layers=layers,
            annotations={
                **facts.annotations(),
                f"{PREFIX}run": status.run,
                f"{PREFIX}outcome": info.outcome,
                f"{PREFIX}jobs": str(status.total.submitted),
                f"{PREFIX}version": __version__,
                _CREATED: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended)),
            },
        )
        last = last_record(run.run_dir)
        files = {layer.digest: folder / layer.title for layer in layers}
        yield Package(facts, manifest, files, last.seq if last else 0, tuple(left_out))


def environment_of(run: LocalRun) -> dict[str, Any]:
    """The machine that saved a run which was fetched; of another run, this one."""
    fetched = run.run_dir / "environment.json"
    return dict(json.loads(fetched.read_bytes())) if fetched.exists() else environment_here()


def _left_out_before(run_dir: Path) -> list[LeftOut]:
    """What a run that was fetched lacks since it was saved first."""
    about = run_dir / "about.json"
    return msgspec.convert(json.loads(about.read_bytes())["left_out"], list[LeftOut]) if about.exists() else []


@contextmanager
def _room() -> Iterator[None]:
    """What the disk says, as an error that a person can act on."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"{error.filename or tempfile.gettempdir()}: {error.strerror}; the archives are made in "
            f"{tempfile.gettempdir()} first (TMPDIR names another place), and nothing was cleaned up"
        ) from error


def _write(path: Path, data: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(data, order="sorted")) + b"\n")


def _layer(path: Path, media_type: str) -> Descriptor:
    with path.open("rb") as file:
        hashed = sha256()
        while piece := file.read(1 << 20):
            hashed.update(piece)
        size = file.tell()
    digest = f"sha256:{hashed.hexdigest()}"
    return Descriptor(media_type=media_type, digest=digest, size=size, annotations={_TITLE: path.name})


# ---- pushing -----------------------------------------------------------------------------------------


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
    return Pushed(own, tuple(places), sent, sum(layer.size for layer in manifest.layers))


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
        run = run_of(content)
        holds = f"the run {run}" if run else "something else"
        raise Refused(
            f"{reference} holds {holds} ({there.digest[:19]}); leave the tag out, for each run gets one of its own, "
            "or replace it with `--force`"
        )


def run_of(content: bytes) -> str:
    """The name of the run that a manifest is of; nothing where it is of something else."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError:
        return ""
    return manifest.annotations.get(f"{PREFIX}run", "") if manifest.artifact_type == ARTIFACT_TYPE else ""


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


# ---- verifying ---------------------------------------------------------------------------------------


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
                _read_back(registry, place.repository, msgspec.json.decode(content, type=Manifest), package)


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
