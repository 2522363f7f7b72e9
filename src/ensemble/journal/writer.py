"""Writing a journal: append to memory, sync in groups, fence older writers, never trust a file that failed once."""

from __future__ import annotations

__all__ = ["JournalWriter", "machine", "process_start"]

import contextlib
import errno
import os
import socket
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from ensemble.journal.format import Header, directory, encode_line, segment_path
from ensemble.journal.reader import lines_from, segments
from ensemble.journal.snapshots import sync_directory
from ensemble.model.decisions import Record
from ensemble.model.errors import Fenced, JournalError, JournalFull
from ensemble.model.failpoints import armed, failpoint

_RESERVE: Final = 256 * 1024
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def process_start(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 when it is gone (a zombie is), or when it is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


@cache
def machine() -> str:
    """The boot of this kernel and the pid namespace: within both a pid means the same. Empty where it is not Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


class JournalWriter:
    """The one writer of a run. `append` only buffers; what `sync` has returned is durable.

    `append` and `sync` may be called from two threads. After a failed write or sync every call raises: what the
    file then holds is only known by reading it again (`take_over`).
    """

    def __init__(self, run_dir: str | Path, header: Header, warnings: tuple[str, ...] = ()) -> None:
        self.folder = directory(run_dir)
        self.header = header
        self.epoch = header.epoch
        self.seq = header.last_seq
        """Number of the last record appended."""
        self.durable = header.last_seq
        """Number of the last record synced."""
        self.warnings = warnings
        self._encoder = msgspec.json.Encoder()
        self._buffer: list[bytes] = []
        self._lock = Lock()
        self._broken: JournalError | None = None
        self._next = os.fspath(segment_path(self.folder, self.epoch + 1))
        path = segment_path(self.folder, self.epoch)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError:
            raise Fenced(f"another process has just taken {run_dir} over (epoch {self.epoch})") from None
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from error
        failpoint("journal.segment-created")
        self._reserve = self.folder / f".reserve.{self.epoch}"
        self._preallocate()
        try:
            self._write(encode_line(0, self._encoder.encode(header)))
            os.fsync(self._file)
            sync_directory(self.folder)
            self._length = os.fstat(self._file).st_size
        except OSError as error:
            raise self._failed(error) from error

    @classmethod
    def create(cls, run_dir: str | Path, run: str, version: str = "") -> JournalWriter:
        """Begin the journal of a new run. Raises `JournalError` when the directory cannot be written."""
        try:
            directory(run_dir).mkdir(parents=True)
        except OSError as error:
            raise JournalError(f"{directory(run_dir)}: {error.strerror}") from error
        return cls(run_dir, _signed(Header(run, 1, version=version)))

    @classmethod
    def take_over(cls, run_dir: str | Path, version: str = "", known: int = 0) -> JournalWriter:
        """Become the writer of an existing run; every older writer is fenced from here on.

        `known`: records up to here were read before and are not looked at again. What the last writer left torn is
        cut: `warnings` says so. Raises `JournalCorrupt` for damage in the middle.
        """
        chain = segments(run_dir)
        last = chain[-1]
        lines = lines_from(last, known)
        seq = last.header.last_seq
        for found, _ in lines:
            # a header's number is 0
            seq = max(seq, found)
        warnings = (f"{last.path.name}: {lines.torn}; nothing was done on it, and it is cut off",) if lines.torn else ()
        newest = max(int(entry.name[8:]) for entry in directory(run_dir).glob("journal.*") if entry.name[8:].isdigit())
        header = Header(
            last.header.run,
            newest + 1,
            previous=last.header.epoch,
            accepted=lines.offset,
            last_seq=seq,
            version=version,
        )
        return cls(run_dir, _signed(header), warnings)

    def append(self, record: Record) -> None:
        """Take a record into the group to be synced next. Raises `JournalError` after any failure."""
        if self._broken is not None:
            raise self._broken
        line = encode_line(record.seq, self._encoder.encode(record))
        with self._lock:
            self._buffer.append(line)
            self.seq = record.seq

    def sync(self) -> int:
        """Make everything appended so far durable; return the number of the last such record.

        Raises `Fenced` when a newer writer exists, `JournalFull` without room, `JournalError` otherwise. Nothing of a
        group that failed may be acted on.
        """
        if self._broken is not None:
            raise self._broken
        with self._lock:
            lines, self._buffer = self._buffer, []
            seq = self.seq
        if not lines:
            return self.durable
        try:
            if os.path.exists(self._next):
                raise Fenced(f"a newer writer took this run over: {Path(self._next).name} exists")
            failpoint("journal.before-write")
            self._write(b"".join(lines))
            failpoint("journal.after-write")
            os.fdatasync(self._file)
            # a writer that came in between has read less than this: it must not be acted on either
            if os.path.exists(self._next):
                raise Fenced(f"a newer writer took this run over: {Path(self._next).name} exists")
        except Fenced as error:
            self._broken = error
            raise
        except OSError as error:
            raise self._failed(error) from error
        failpoint("journal.after-sync")
        self._length = os.fstat(self._file).st_size
        self.durable = seq
        return seq

    def write_last_words(self, record: Record) -> bool:
        """After a full disk: give up the reserve and write one record with it. Returns whether that worked.

        The group that failed is cut off first: none of it was acted on.
        """
        with contextlib.suppress(OSError):
            self._reserve.unlink()
            os.ftruncate(self._file, self._length)
            self._write(encode_line(record.seq, self._encoder.encode(record)))
            os.fdatasync(self._file)
            return True
        return False

    def close(self) -> None:
        """Sync and close the file; the reserve is given back."""
        try:
            if self._broken is None:
                self.sync()
        finally:
            os.close(self._file)
            with contextlib.suppress(OSError):
                self._reserve.unlink()

    def abandon(self) -> None:
        """Close the file without writing what is not durable yet."""
        os.close(self._file)
        with contextlib.suppress(OSError):
            self._reserve.unlink()

    def _write(self, data: bytes) -> None:
        if armed("journal.mid-write"):
            os.write(self._file, data[: len(data) // 2])
        failpoint("journal.mid-write")
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _preallocate(self) -> None:
        with contextlib.suppress(OSError):
            descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _RESERVE)
            finally:
                os.close(descriptor)

    def _failed(self, error: OSError) -> JournalError:
        """Remember that nothing after this can be trusted (a failed fsync may drop pages and succeed next time)."""
        path = segment_path(self.folder, self.epoch)
        if error.errno in _NO_ROOM:
            self._broken = JournalFull(f"{path}: {error.strerror}")
        else:
            self._broken = JournalError(f"{path}: {error.strerror}")
        return self._broken


def _signed(header: Header) -> Header:
    pid = os.getpid()
    started = process_start(pid)
    return msgspec.structs.replace(header, host=socket.gethostname(), pid=pid, pid_started=started, machine=machine())
