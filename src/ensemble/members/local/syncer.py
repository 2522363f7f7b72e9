"""Makes the keeper's log durable, in a thread of its own."""

from __future__ import annotations

__all__ = ["Syncer"]

import threading
import time
from collections.abc import Callable
from typing import Final

from ensemble.members.local.records import KeeperLog

RETRY_SECONDS: Final = 0.5
"""Pause after a sync that failed, in seconds."""
SYNC_SECONDS: Final = 0.010
"""Least time between two syncs: while many jobs end, an end is sent that much later; while few do, at once."""
SYNC_SHARE: Final = 4
"""The pause after a sync is at least this many times what it took: meanwhile the jobs' own files wait for the disk."""
MOST_SECONDS: Final = 0.100
"""But no longer than this."""


class Syncer(threading.Thread):
    """Makes the log durable in groups and wakes the keeper after each."""

    def __init__(self, log: KeeperLog, wake: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._wake = wake
        self._wanted = threading.Event()
        self._next = 0.0
        self._began = 0.0
        """When (monotonic) the sync under way began; 0 between two."""
        self.asked = 0
        self.done = 0
        self.error = ""
        """Why nothing can be made durable at present."""

    def late(self, seconds: float) -> str:
        """Return a message when a sync has taken longer than so many seconds, else nothing."""
        began = self._began
        return "the disk does not answer" if began and time.monotonic() - began > seconds else ""

    def want(self) -> int:
        """Ask that all written so far be made durable; return a ticket that `done` will reach."""
        self.asked += 1
        self._wanted.set()
        return self.asked

    def run(self) -> None:
        """Sync whenever asked."""
        while True:
            self._wanted.wait()
            # under load a moment makes groups of what would be many syncs, each of which holds up the file system
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._wanted.clear()
            ticket = self.asked
            self._began = began = time.monotonic()
            try:
                self._log.sync()
            except OSError as error:
                # nothing is sent until it is durable: try again once there may be room
                self.error = error.strerror or str(error)
                self._wake()
                time.sleep(RETRY_SECONDS)
                self._wanted.set()
                continue
            finally:
                self._began = 0.0
            self.error = ""
            ended = time.monotonic()
            self._next = ended + min(max(SYNC_SECONDS, SYNC_SHARE * (ended - began)), MOST_SECONDS)
            self.done = ticket
            self._wake()
