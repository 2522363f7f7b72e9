"""Requests to a run from outside its process, and their answers.

A request is a file `<id>.json` in `<run>/requests`, and a pipe there tells the run to look. The run renames the file
when it takes the request in, and leaves an answer beside it once what it decided is durable. Whoever withdraws a
request renames its file as well: the file system lets one of the two win, so a request is done or refused, and not
both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from ensemble.journal import read
from ensemble.model.decisions import Create, Drain, Effect, Keyed, Note, Record, Upkeep
from ensemble.model.errors import InputError
from ensemble.model.events import Fault, Requested
from ensemble.runtime.alive import process_at
from ensemble.spec.changes import FileChanges
from ensemble.spec.loader import action_from_plain, rule_from_plain
from ensemble.spec.model import ActionSpec, EnsembleSpec

if TYPE_CHECKING:
    from ensemble.runtime.loop import RunLoop

LOOK_SECONDS: Final = 5.0
"""How often a run looks by itself: for requests from other hosts, whose pipe is not this one."""

POLL_SECONDS: Final = (0.005, 0.2)
"""The shortest and the longest pause between two looks for an answer."""

OLD_SECONDS: Final = 3600.0
"""The age at which an answer that nobody has read is removed."""

_PIPE: Final = "bell"
"""The name of the pipe in the directory of requests."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a request. `text` holds the remarks on it; where nothing was `done`, the reason.

    `jobs` are the keys of the jobs that it made; `seq` is the number of the record that decided it (0: none did).
    """

    done: bool
    text: str = ""
    jobs: tuple[str, ...] = ()
    seq: int = 0


def is_over(run: str, outcome: str) -> str:
    """What a run that is over answers to every request."""
    return f"run {run} is over ({outcome}); nothing can be asked of it any more"


def complete(request: Requested, spec: EnsembleSpec) -> Requested:
    """The request with its action or rule in full form. Raises `InputError` for one that the file could not hold."""
    if request.action is None:
        return request
    if request.what == "change":
        try:
            msgspec.convert(request.action, FileChanges)
        except msgspec.ValidationError as error:
            raise InputError(f"no such change: {error}") from error
        return request
    if request.action.get("points"):
        # in full form already
        try:
            msgspec.convert(request.action, ActionSpec)
        except msgspec.ValidationError as error:
            raise InputError(f"no such action: {error}") from error
        return request
    read_plain = rule_from_plain if request.what == "add-rule" else action_from_plain
    return replace(request, action=msgspec.to_builtins(read_plain(request.action, spec)))


def answer(record: Record) -> Answer:
    """What the record of a request says that it came to."""
    effects: list[Effect] = []
    for step in record.steps:
        if isinstance(step, Upkeep) and step.cause == "request":
            effects += step.effects
    keyed = [effect for effect in effects if isinstance(effect, Keyed)]
    spans = keyed[0].spans if keyed else [effect.span for effect in effects if isinstance(effect, Create)]
    keys = tuple(f"{one.group}-{number}" for one in spans for number in range(one.first, one.first + one.count))
    notes = tuple(effect.text for effect in effects if isinstance(effect, Note))
    submits = isinstance(record.event, Requested) and (record.event.action or {}).get("name") == "submit"
    # a limit that is reached drains the run, which is not what was asked for
    done = [effect for effect in effects if not isinstance(effect, (Note, Drain) if submits else Note)]
    return Answer(bool(done or not notes), "; ".join(notes), keys, record.seq)


# ---- asking ------------------------------------------------------------------------------------------


def ask(run_dir: Path, request: Requested, timeout: float | None = None) -> Answer:
    """Ask something of a run that is going on; return what came of it once that is durable.

    `timeout` in seconds; left out, it waits as long as a process works on the run. Raises `InputError` when none does,
    or when the file could not hold such an action either, and `TimeoutError`.
    """
    request = replace(request, id=request.id or token_hex(8))
    folder = run_dir / "requests"
    _post(run_dir, folder, request)
    until = None if timeout is None else time.monotonic() + timeout
    pause = POLL_SECONDS[0]
    while True:
        gone = process_at(run_dir) is None
        # after it was asked whether anybody is there: what was answered until then is found
        found = _answered(folder, request.id)
        if found is not None:
            return found
        if gone and _withdrawn(folder, request.id, ".json", ".taken"):
            left = Answer(False, f"run {run_dir.name} ended, or was left, before it took the request in")
            return _recorded(run_dir, request.id) or left
        if until is not None and time.monotonic() >= until and _withdrawn(folder, request.id, ".json"):
            raise TimeoutError(f"run {run_dir.name} did not take the request in within {timeout:g} s")
        time.sleep(pause)
        pause = min(POLL_SECONDS[1], pause * 1.5)


def _post(run_dir: Path, folder: Path, request: Requested) -> None:
    found = process_at(run_dir)
    if found is None:
        raise InputError(f"no process works on run {run_dir.name}; `ensemble resume {run_dir.name}` continues it")
    try:
        folder.mkdir(exist_ok=True)
        _write(folder / f"{request.id}.json", msgspec.json.encode(request))
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error
    if found.here:
        _wake(folder)


def _write(path: Path, data: bytes) -> None:
    fresh = path.parent / f".{token_hex(8)}"
    fresh.write_bytes(data)
    fresh.rename(path)


def _wake(folder: Path) -> None:
    with contextlib.suppress(OSError):
        pipe = os.open(folder / _PIPE, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, b"!")
        finally:
            os.close(pipe)


def _answered(folder: Path, id: str) -> Answer | None:  # noqa: A002 - the field's name
    path = folder / f"{id}.answer"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Answer)
    except FileNotFoundError:
        return None
    path.unlink(missing_ok=True)
    return found


def _withdrawn(folder: Path, id: str, *suffixes: str) -> bool:  # noqa: A002
    """Take a request back that is in one of these states. Whether it was."""
    for path in folder.glob(f"{id}.*"):
        if path.suffix in suffixes:
            with contextlib.suppress(OSError):
                path.rename(folder / f".{id}")
                (folder / f".{id}").unlink()
                return True
    return False


def _recorded(run_dir: Path, id: str) -> Answer | None:  # noqa: A002
    """The answer to a request that is in the journal although nobody gave it."""
    for record in read(run_dir):
        if isinstance(record.event, Requested) and record.event.id == id:
            return answer(record)
    return None


# ---- answering ---------------------------------------------------------------------------------------


class Requests:
    """Takes requests in as they come. No signal is used: it could reach a process that no longer expects it."""

    def __init__(self, loop: RunLoop, run_dir: Path, epoch: int) -> None:
        self._loop = loop
        self._run_dir = run_dir
        self._folder = run_dir / "requests"
        self._epoch = epoch
        self._woken = asyncio.Event()
        self._pipe = -1
        self._task = asyncio.create_task(self._watch(), name="requests")

    async def close(self) -> None:
        """Listen no more: the run is over or being left. What was not taken in is answered with that."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
        ended = self._loop.engine.ended
        if ended is not None:
            for path in self._waiting(".json"):
                self._answer(path, Answer(False, is_over(self._run_dir.name, ended.outcome)))

    async def _watch(self) -> None:
        self._open_pipe()
        self._clear()
        # what a process before this one had taken in may be in the journal
        for path in self._waiting(".taken"):
            found = await asyncio.to_thread(_recorded, self._run_dir, path.name.partition(".")[0])
            if found is not None:
                self._answer(path, found)
            else:
                await self._take(path)
        while True:
            self._woken.clear()
            for path in self._waiting(".json"):
                await self._take(path)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()

    def _open_pipe(self) -> None:
        # where there are no pipes (some shared file systems) we look often enough
        with contextlib.suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            path = self._folder / _PIPE
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # open for writing too: without a writer a pipe is at its end all the time
            self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            asyncio.get_running_loop().add_reader(self._pipe, self._read_pipe)

    def _read_pipe(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._pipe, 4096)
        self._woken.set()

    def _waiting(self, suffix: str) -> Iterator[Path]:
        try:
            yield from sorted(path for path in self._folder.iterdir() if path.suffix == suffix)
        except OSError:
            return

    def _clear(self) -> None:
        """Remove answers that whoever asked did not wait for."""
        for path in self._waiting(".answer"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > OLD_SECONDS:
                    path.unlink()

    async def _take(self, path: Path) -> None:
        taken = path.with_name(f"{path.name.partition('.')[0]}.{self._epoch}.taken")
        try:
            path.rename(taken)
        except OSError:
            # withdrawn just now
            return
        try:
            request = complete(msgspec.json.decode(taken.read_bytes(), type=Requested), self._loop.engine.spec)
        except (OSError, msgspec.MsgspecError, InputError) as error:
            self._loop.post(Fault("bad-request", f"{path.name}: {error}"))
            self._answer(taken, Answer(False, str(error)))
            return
        # shielded: at the end it is known a moment later whether it became durable
        record = await asyncio.shield(self._loop.enter([request]))
        if isinstance(record, Record):
            self._answer(taken, answer(record))

    def _answer(self, path: Path, found: Answer) -> None:
        with contextlib.suppress(OSError):
            _write(self._folder / f"{path.name.partition('.')[0]}.answer", msgspec.json.encode(found))
            path.unlink()
