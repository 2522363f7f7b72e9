"""A run as files that can be stored: reproducible archives of its journal and of what its jobs wrote.

The same run gives the same bytes: entries are sorted and carry neither owner nor time. Archives are tar files with
GNU's long names, compressed by gzip without a name and a time.
"""

from __future__ import annotations

__all__ = ["NOTES", "LeftOut", "pack_journal", "pack_outputs", "unpack"]

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from msgspec import Struct

from ensemble.artifacts.secret import Secrets
from ensemble.journal import segments
from ensemble.journal.format import decode_line, encode_line
from ensemble.journal.reader import LineReader
from ensemble.model.errors import ArtifactError

LEVEL: Final = 6

_OURS: Final = ("journal", "requests", "keeper", "minicluster")
"""Directories of a run that are no output: its journal is stored by itself, the rest serves a run that goes on, and
holds its keys."""

NOTES: Final = ("about.json", "environment.json", "fetched.json", "results.jsonl")
"""Files that stand beside the run in a registry, and in its directory once it was fetched."""


class LeftOut(Struct, frozen=True):
    """A file of a run that is not stored, and why. `lost`: it could not be read, so its content is nowhere else."""

    path: str
    reason: str
    lost: bool = False


def pack_journal(run_dir: Path, target: Path, secrets: Secrets) -> None:
    """Store the segments of the journal that count, each as far as it counts. Raises `JournalError`."""
    with _archive(target) as add:
        for segment in segments(run_dir):
            whole = LineReader(segment)
            for _ in whole:
                pass
            lines = _lines(segment.path, whole.offset, secrets)
            add(f"journal/{segment.path.name}", 0o644, whole.offset, lines)
        # that nobody works on the copy
        add(f"journal/left.{segment.header.epoch}", 0o644, 0, iter(()))


def _lines(path: Path, end: int, secrets: Secrets) -> Iterator[bytes]:
    """The lines of a segment up to a byte, each with the checksum of what is left of it; lengths stay."""
    with path.open("rb") as file:
        while file.tell() < end:
            seq, body = decode_line(file.readline()[:-1])
            yield encode_line(seq, secrets.out_of(body))


def pack_outputs(run_dir: Path, target: Path, secrets: Secrets) -> list[LeftOut]:
    """Store what the jobs wrote and the files made for them; return what had to be left out.

    A symbolic link to a place outside of the run is left out: what it leads to is not the run's.
    """
    left_out: list[LeftOut] = []

    def unreadable(error: OSError) -> None:
        name = secrets.out_of(os.fsencode(os.path.relpath(error.filename, run_dir))).decode("utf-8", "backslashreplace")
        left_out.append(LeftOut(name, f"it cannot be read: {error.strerror}", lost=True))

    with _archive(target) as add:
        for path in _files(run_dir, unreadable):
            name = secrets.out_of(os.fsencode(path.relative_to(run_dir))).decode("utf-8", "surrogateescape")
            try:
                about = path.lstat()
                if stat.S_ISLNK(about.st_mode):
                    there = Path(os.path.realpath(path))  # of a link that leads to itself, the link
                    if there != path and there.is_relative_to(run_dir.resolve()):
                        link = os.fsencode(os.path.relpath(there, path.parent.resolve()))
                        add(name, 0o777, 0, iter(()), secrets.out_of(link).decode("utf-8", "surrogateescape"))
                    else:
                        left_out.append(LeftOut(name, "it is a link to a place outside of the run"))
                elif stat.S_ISREG(about.st_mode):
                    with path.open("rb") as file:
                        add(name, 0o755 if about.st_mode & 0o100 else 0o644, about.st_size, secrets.reading(file))
                else:
                    left_out.append(LeftOut(name, "it is neither a file nor a link"))
            except PermissionError as error:
                unreadable(error)
    return left_out


def _files(run_dir: Path, unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    """The files of a run that are outputs, in the order of their names."""
    found: list[Path] = []
    for folder, folders, files in os.walk(run_dir, onerror=unreadable):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        if here == run_dir:
            folders[:] = [name for name in folders if name not in _OURS]
            files = [name for name in files if name not in NOTES]
        found += [here / name for name in (*files, *links)]
    return iter(sorted(found))


Add = Callable[..., None]


@contextmanager
def _archive(target: Path) -> Iterator[Add]:
    """An archive to be filled by calls of `add(name, mode, size, pieces, link)`."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):

        def add(name: str, mode: int, size: int, pieces: Iterator[bytes], link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, size
            if link:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry, None if link or not size else _Pieces(name, size, pieces))

        yield add


class _Pieces(io.RawIOBase):
    """A file of a known size, from pieces."""

    def __init__(self, name: str, size: int, pieces: Iterator[bytes]) -> None:
        self._name, self._left, self._pieces, self._held = name, size, pieces, b""

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes. Raises `ArtifactError` where there are none: the file has become shorter."""
        size = self._left if size < 0 else min(size, self._left)
        while len(self._held) < size:
            try:
                self._held += next(self._pieces)
            except StopIteration:
                raise ArtifactError(f"{self._name} became shorter while it was saved") from None
        found, self._held = self._held[:size], self._held[size:]
        self._left -= size
        return found


def unpack(source: Path, target: Path) -> None:
    """Write the files of an archive below a directory. Raises `ArtifactError` for one that would leave it."""
    target = target.resolve()
    links: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(source, "r:gz") as archive:
            for entry in archive:
                path = _inside(target, entry.name)
                if entry.issym():
                    _inside(target, str(PurePosixPath(entry.name).parent / entry.linkname), of_link=True)
                    if entry.linkname != os.path.normpath(entry.linkname):
                        raise ArtifactError(f"the archive holds a link to {entry.linkname!r}, which can lead anywhere")
                    links.append(entry)
                elif entry.isreg():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("xb") as file:
                        _copy(archive.extractfile(entry), file)
                    path.chmod(entry.mode & 0o755 | 0o600)
                elif not entry.isdir():
                    raise ArtifactError(f"the archive holds {entry.name!r}, which is neither a file nor a link")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise ArtifactError(f"the archive cannot be read: {error}") from error
    # last, so that nothing is written through a link
    for entry in links:
        path = _inside(target, entry.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(entry.linkname)


def _inside(target: Path, name: str, of_link: bool = False) -> Path:
    """The path of an entry, or of what a link in the archive leads to, which no other link leads out of `target`."""
    found = Path(os.path.normpath(target / name))
    if (
        PurePosixPath(name).is_absolute()
        or not found.is_relative_to(target)
        or (not of_link and (".." in name.split("/") or name in NOTES or found.parent.resolve() != found.parent))
    ):
        raise ArtifactError(f"the archive holds {name!r}, which would be outside of the run's directory")
    return found


def _copy(source: IO[bytes] | None, target: IO[bytes]) -> None:
    while source is not None and (piece := source.read(1 << 20)):
        target.write(piece)
