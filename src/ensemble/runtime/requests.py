"""Requests to a run from outside its process: files in `<run>/requests`, and a pipe there that says to look."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import msgspec

from ensemble.model.errors import InputError
from ensemble.model.events import Fault, Requested
from ensemble.runtime.alive import process_at
from ensemble.spec.loader import action_from_plain, rule_from_plain
from ensemble.spec.model import EnsembleSpec

if TYPE_CHECKING:
    from ensemble.runtime.loop import RunLoop

LOOK_SECONDS: Final = 5.0
"""How often a run looks by itself: for requests from other hosts, which cannot ring."""

_BELL: Final = "bell"


def post(run_dir: Path, request: Requested) -> None:
    """Ask something of a run that is going on. Raises `InputError` when no process is at it."""
    found = process_at(run_dir)
    if found is None:
        raise InputError(f"no process works on run {run_dir.name}; `ensemble resume {run_dir.name}` continues it")
    folder = run_dir / "requests"
    try:
        folder.mkdir(exist_ok=True)
        fresh = folder / f".{token_hex(8)}"
        fresh.write_bytes(msgspec.json.encode(request))
        fresh.rename(folder / f"{token_hex(8)}.json")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error
    if found.here:
        _ring(folder)


def check(request: Requested, spec: EnsembleSpec) -> None:
    """Raises `InputError` for an action or rule that the file could not hold either."""
    if request.action is not None:
        read_plain = rule_from_plain if request.what == "add-rule" else action_from_plain
        read_plain(request.action, spec)


def _ring(folder: Path) -> None:
    with contextlib.suppress(OSError):
        bell = os.open(folder / _BELL, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(bell, b"!")
        finally:
            os.close(bell)


class Requests:
    """Takes requests in as they come. No signal is used: it could reach a process that no longer expects it."""

    def __init__(self, loop: RunLoop, run_dir: Path) -> None:
        self._loop = loop
        self._folder = run_dir / "requests"
        self._rang = asyncio.Event()
        self._done: set[str] = set()
        self._bell = -1
        self._task = asyncio.create_task(self._watch(), name="requests")

    def end(self) -> None:
        """Listen no more."""
        self._task.cancel()
        if self._bell >= 0:
            asyncio.get_running_loop().remove_reader(self._bell)
            os.close(self._bell)

    async def _watch(self) -> None:
        self._hang_bell()
        while True:
            self._rang.clear()
            for path in self._waiting():
                await self._take(path)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._rang.wait()

    def _hang_bell(self) -> None:
        # where there are no pipes (some shared file systems) we look often enough
        with contextlib.suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            path = self._folder / _BELL
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # open for writing too: without a writer a pipe is at its end all the time
            self._bell = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            asyncio.get_running_loop().add_reader(self._bell, self._hear)

    def _hear(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._bell, 4096)
        self._rang.set()

    def _waiting(self) -> list[Path]:
        try:
            return sorted(path for path in self._folder.iterdir() if path.suffix == ".json")
        except OSError:
            return []

    async def _take(self, path: Path) -> None:
        if path.name in self._done:
            return
        try:
            request = msgspec.json.decode(path.read_bytes(), type=Requested)
            check(request, self._loop.engine.spec)
        except (OSError, msgspec.MsgspecError, InputError) as error:
            self._loop.post(Fault("bad-request", f"{path.name}: {error}"))
        else:
            # it goes from here only once it is in the journal
            if not await self._loop.enter([request]):
                return
        self._done.add(path.name)
        with contextlib.suppress(OSError):
            path.unlink()
