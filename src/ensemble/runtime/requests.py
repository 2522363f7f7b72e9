"""Requests to a run from outside its process: files in `<run>/requests/`, and a signal that says to look."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from ensemble.journal import writer_of
from ensemble.journal.writer import process_start
from ensemble.model.errors import InputError
from ensemble.model.events import Requested

if TYPE_CHECKING:
    from ensemble.runtime.session import Session

LOOK_SECONDS = 5.0
"""How often a run looks by itself: for requests from other hosts, which cannot send it a signal."""


def post(run_dir: Path, request: Requested) -> None:
    """Ask something of a run that is going on. Raises `InputError` when no process runs it."""
    writer = writer_of(run_dir)
    here = writer.host == socket.gethostname()
    if here and writer.pid_started != process_start(writer.pid):
        raise InputError(f"run {writer.run} is not being run; `ensemble resume` goes on with it")
    folder = run_dir / "requests"
    folder.mkdir(exist_ok=True)
    fresh = folder / f".{token_hex(8)}"
    fresh.write_bytes(msgspec.json.encode(request))
    fresh.rename(folder / f"{token_hex(8)}.json")
    if here:
        os.kill(writer.pid, signal.SIGUSR1)


def watch(session: Session, run_dir: Path) -> asyncio.Task[None]:
    """Take in requests as they come, for as long as the task lives."""
    wake = asyncio.Event()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, wake.set)
    return asyncio.create_task(_watch(session, run_dir / "requests", wake), name="requests")


async def _watch(session: Session, folder: Path, wake: asyncio.Event) -> None:
    while True:
        if folder.is_dir():
            for path in sorted(folder.glob("*.json")):
                with contextlib.suppress(OSError, msgspec.MsgspecError):
                    session.post(msgspec.json.decode(path.read_bytes(), type=Requested))
                with contextlib.suppress(OSError):
                    path.unlink()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), LOOK_SECONDS)
        wake.clear()
