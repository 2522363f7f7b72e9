"""A durable log of lines in a member's own folder."""

from __future__ import annotations

__all__ = ["DurableLog"]

import os
import threading
from pathlib import Path


class DurableLog:
    """Appends lines to one file; each call returns when they are on the disk. Any thread may use it.

    A line that was torn by a crash stays a line of its own, which readers must pass over.
    """

    def __init__(self) -> None:
        self._file = -1
        self._guard = threading.Lock()

    def open(self, path: Path) -> None:
        """Open the file at its end, making it where there is none. Raises `OSError`."""
        self.close()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(self._file).st_size:
            os.write(self._file, b"\n")

    def append(self, lines: bytes) -> None:
        """Write whole lines and sync them. Raises `OSError`."""
        with self._guard:
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file, after an append that is under way."""
        with self._guard:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1
