"""The keeper's log: what happened is written whatever the disk says, and nothing counts before it is durable."""

import errno
import os
from pathlib import Path

import pytest

from ensemble.members.local import records
from ensemble.members.local.records import Exited, KeeperLog, Started, read_keeper_log


def entry(number: int) -> Exited:
    return Exited(f"a-{number}", 1, number)


def read(path: Path) -> list[str]:
    return [found.key for found in read_keeper_log(path) if isinstance(found, (Exited, Started))]


class Disk:
    """`os.write` and `os.fdatasync` of a disk that is full or broken at times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 1 << 30
        self.broken = False
        self._write, self._sync = os.write, os.fdatasync
        monkeypatch.setattr(records.os, "write", self.write)
        monkeypatch.setattr(records.os, "fdatasync", self.sync)

    def write(self, file: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "no space left")
        gone = self._write(file, data[: self.room])
        self.room -= gone
        return gone

    def sync(self, file: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "broken")
        self._sync(file)


def test_a_line_cut_by_a_full_disk_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, disk = tmp_path / "log", Disk(monkeypatch)
    log = KeeperLog(path)
    log.write(entry(1))
    disk.room = 10
    with pytest.raises(OSError, match="no space"):
        log.write(entry(2))
    disk.room = 1 << 30
    log.write(entry(3))
    assert read(path) == ["a-1", "a-3"]


def test_what_happened_on_a_full_disk_is_written_in_order_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = tmp_path / "log", Disk(monkeypatch)
    log = KeeperLog(path)
    disk.room = 10
    for number in (1, 2, 3):
        log.note(entry(number))
    with pytest.raises(OSError, match="no space"):
        log.sync()
    with pytest.raises(OSError, match="no space"):
        log.write(entry(4))
    disk.room = 1 << 30
    log.sync()
    assert read(path) == ["a-1", "a-2", "a-3"]


def test_after_a_sync_that_failed_everything_since_the_last_good_one_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = tmp_path / "log", Disk(monkeypatch)
    log = KeeperLog(path)
    log.note(entry(1))
    log.sync()
    log.note(entry(2))
    log.note(entry(3))
    disk.broken = True
    with pytest.raises(OSError, match="broken"):
        log.sync()
    # the kernel dropped what it could not write
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    disk.broken = False
    log.sync()
    assert read(path) == ["a-1", "a-2", "a-3"]
