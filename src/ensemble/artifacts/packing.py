"""Making a package of a run: the files that are pushed, and the manifest that names them."""

from __future__ import annotations

__all__ = ["ARTIFACT_TYPE", "ENVIRONMENT", "JOURNAL", "Package", "environment_of", "pack"]

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble import __version__
from ensemble.artifacts.archive import LeftOut, pack_journal, pack_outputs
from ensemble.artifacts.environment import environment_here
from ensemble.artifacts.manifest import Descriptor, Manifest
from ensemble.artifacts.naming import PREFIX, Facts, facts_of
from ensemble.artifacts.secret import Secrets, secrets_of
from ensemble.engine import Status
from ensemble.journal import last_record
from ensemble.model.errors import ArtifactError, InputError
from ensemble.runs import RunInfo
from ensemble.runs.interface import AT_WORK
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

_KINDS: Final = {
    "about.json": ABOUT,
    "results.jsonl": RESULTS,
    "environment.json": ENVIRONMENT,
    "journal.tar.gz": JOURNAL,
    "outputs.tar.gz": OUTPUTS,
}
"""The files of a package, and the media type of each."""


class Package(Struct, frozen=True):
    """A run, ready to be pushed: the manifest without a subject, and the file of each layer."""

    facts: Facts
    manifest: Manifest
    files: dict[str, Path]
    """The content by its digest."""
    records: int
    """How many the journal has."""
    left_out: tuple[LeftOut, ...] = ()

    def refuse_to_lose(self, run: str) -> None:
        """Raises `ArtifactError` where the run holds what could not be saved, so that it must not be deleted."""
        lost = [one for one in self.left_out if one.lost]
        if lost:
            more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise ArtifactError(f"{run} is not deleted: {lost[0].path} is not saved ({lost[0].reason}){more}")


@contextmanager
def pack(run: LocalRun, environment: str = "") -> Iterator[Package]:
    """Make the package of a run, in a directory that is removed at the end of the block.

    `environment` names where it ran, for its tag. Raises `InputError` for a run that is not over, or that marks a
    secret whose value is not known here, and `ArtifactError` where there is no room.
    """
    info = run.info()
    _refuse_unfinished(run, info)
    spec, status = run.spec(), run.status()
    secrets = secrets_of(spec)
    facts = facts_of(status.run, spec, status, environment)
    with _room(), tempfile.TemporaryDirectory(prefix="ensemble-save-") as name:
        folder = Path(name)
        pack_journal(run.run_dir, folder / "journal.tar.gz", secrets)
        left_out = [*_left_out_before(run.run_dir), *pack_outputs(run.run_dir, folder / "outputs.tar.gz", secrets)]
        with (folder / "results.jsonl").open("wb") as file:
            for row in run.results():
                file.write(secrets.out_of(json.dumps(row).encode()) + b"\n")
        _write(folder / "environment.json", environment_of(run))
        _write(folder / "about.json", _about(info, status, facts, left_out, secrets))
        layers = tuple(_layer(folder / name, kind) for name, kind in _KINDS.items())
        manifest = Manifest(artifact_type=ARTIFACT_TYPE, layers=layers, annotations=_annotations(info, status, facts))
        last = last_record(run.run_dir)
        files = {layer.digest: folder / layer.title for layer in layers}
        yield Package(facts, manifest, files, last.seq if last else 0, tuple(left_out))


def _refuse_unfinished(run: LocalRun, info: RunInfo) -> None:
    if info.state in AT_WORK:
        raise InputError(f"run {run.name} is running: only a run that is over is saved")
    if info.state != "over":
        raise InputError(
            f"run {run.name} is not over (it is {info.state}): only a run that is over is saved; "
            f"`ensemble resume {run.name}` continues it, `ensemble cancel {run.name}` ends it"
        )


def _about(info: RunInfo, status: Status, facts: Facts, left_out: list[LeftOut], secrets: Secrets) -> dict[str, Any]:
    """The run in one file, for those who look at nothing else."""
    counts = ("submitted", "success", "failed", "cancelled", "lost")
    return {
        "run": status.run,
        "outcome": info.outcome,
        "reason": secrets.out_of(info.reason.encode()).decode(),
        "version": __version__,
        "started": status.started,
        "ended": status.started + status.elapsed,
        "jobs": {name: getattr(status.total, name) for name in counts},
        "facts": facts,
        "left_out": left_out,
    }


def _annotations(info: RunInfo, status: Status, facts: Facts) -> dict[str, str]:
    ended = time.gmtime(status.started + status.elapsed)
    return {
        **facts.annotations(),
        f"{PREFIX}run": status.run,
        f"{PREFIX}outcome": info.outcome,
        f"{PREFIX}jobs": str(status.total.submitted),
        f"{PREFIX}version": __version__,
        _CREATED: time.strftime("%Y-%m-%dT%H:%M:%SZ", ended),
    }


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
