"""Snapshots: the engine's state at one record, so that a resume need not read all of them."""

from __future__ import annotations

__all__ = ["newest_snapshot", "write_snapshot"]

import contextlib
import os
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec

from ensemble.journal.format import FORMAT, directory
from ensemble.model.failpoints import failpoint

_KEEP: Final = 2


def write_snapshot(run_dir: str | Path, seq: int, data: dict[str, Any]) -> Path:
    """Write the state as of record `seq`, whole or not at all; keep the newest two. Raises `OSError`."""
    folder = directory(run_dir)
    body = msgspec.json.encode(data)
    path = folder / f"snapshot.{seq:012d}"
    fresh = folder / f".{path.name}.{os.getpid()}"
    with fresh.open("wb") as file:
        file.write(b"%d %08x\n" % (FORMAT, crc32(body)))
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    failpoint("snapshot.before-rename")
    fresh.rename(path)
    failpoint("snapshot.after-rename")
    sync_directory(folder)
    for old in _snapshots(folder)[:-_KEEP]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def newest_snapshot(folder: Path, warnings: list[str]) -> tuple[int, dict[str, Any]] | None:
    """Return (seq, state) of the newest good snapshot; name in `warnings` those that could not be used."""
    for path in reversed(_snapshots(folder)):
        content = path.read_bytes()
        head, _, body = content.partition(b"\n")
        try:
            number, checksum = head.split(b" ")
            if int(number) > FORMAT:
                warnings.append(f"{path.name} is of format {int(number)}, which this version does not read")
                continue
            if int(checksum, 16) != crc32(body):
                raise ValueError("its checksum does not match")
            return int(path.name[9:]), msgspec.json.decode(body, type=dict[str, Any])
        except (ValueError, msgspec.MsgspecError) as error:
            warnings.append(f"{path.name} is damaged ({error}) and is not used")
    return None


def _snapshots(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.name.startswith("snapshot."))


def sync_directory(folder: Path) -> None:
    """Make new names in a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
