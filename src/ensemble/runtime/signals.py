"""What a terminal and an operating system say to a run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ensemble.model.events import Fault, Requested

if TYPE_CHECKING:
    from ensemble.runtime.loop import RunLoop

INTERRUPTED: Final = 130

TERM_SECONDS: Final = 8.0
"""After SIGTERM jobs have so long to end; then the run is left as it is, to be resumed, whatever its members do."""


class Signals:
    """Ctrl-C once drains, twice cancels, three times leaves everything running; SIGTERM cancels and ends this process
    within 10 s; a terminal that goes away is noted and nothing else. Works in the main thread only; elsewhere it does
    nothing.
    """

    def __init__(self, loop: RunLoop) -> None:
        self._loop = loop
        self._interrupts = 0
        self._set: list[int] = []
        self._late: asyncio.TimerHandle | None = None

    def __enter__(self) -> Signals:
        self._listen(signal.SIGINT, self.interrupt)
        self._listen(signal.SIGTERM, self._terminate)
        self._listen(signal.SIGHUP, self._hang_up)
        return self

    def __exit__(self, *_: object) -> None:
        running = asyncio.get_running_loop()
        for number in self._set:
            running.remove_signal_handler(number)
        if self._late is not None:
            self._late.cancel()

    def _listen(self, number: int, handler: Callable[[], None]) -> None:
        if signal.getsignal(number) is signal.SIG_IGN:
            # nohup, or whoever started us, wants it so
            return
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(number, handler)
            self._set.append(number)

    def interrupt(self) -> None:
        """Somebody pressed Ctrl-C."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._loop.post(Requested("pause", "SIGINT"))
        elif self._interrupts == 2:
            self._loop.post(Requested("cancel", "SIGINT"))
        else:
            self._loop.detach(INTERRUPTED)

    def _terminate(self) -> None:
        if self._late is None:
            self._loop.post(Requested("cancel", "SIGTERM"))
            self._late = asyncio.get_running_loop().call_later(TERM_SECONDS, self._leave)

    def _leave(self) -> None:
        reason = (
            f"SIGTERM: not all jobs had ended within {TERM_SECONDS:g} s; "
            f"`ensemble resume {self._loop.run_dir}` goes on with the run"
        )
        self._loop.leave("detached", reason, INTERRUPTED)
        self._loop.hurried.set()

    def _hang_up(self) -> None:
        self._loop.post(Fault("terminal-gone", "SIGHUP"))
        silence()


def silence() -> None:
    """Let what is still printed go nowhere: nobody reads it any more."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if os.isatty(stream.fileno()):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
