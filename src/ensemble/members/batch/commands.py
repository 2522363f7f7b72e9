"""The commands of a queue as asyncio processes."""

from __future__ import annotations

__all__ = ["Commands", "NoAnswer", "last_line"]

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ensemble.model.errors import MemberError

CALL_SECONDS: Final = 60.0
"""How long one command may take; Slurm's own patience (MessageTimeout) is 10 s and it tries again by itself."""

IDS: Final = 200
"""Job ids in one command: below any limit on the length of a command line, and a bounded burst of messages."""


_COMMAND: Final = re.compile(r"^\w+: (?:error: )?")


class NoAnswer(MemberError):
    """The queue did not answer; whether it did what was asked is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


class Commands:
    """Runs commands in one environment; `unreachable` are the words by which they say that the queue is away."""

    def __init__(self, environment: Mapping[str, str], unreachable: Sequence[str]) -> None:
        self._environment = dict(environment)
        self._unreachable = tuple(unreachable)

    async def call(
        self, *words: str, text: str = "", give_up: Callable[[str], bool] | None = None
    ) -> tuple[int, str, str]:
        """Run a command with `text` as its input; return its exit code, output and errors. Raises `NoAnswer`.

        A command of which `give_up` holds for a line of its errors is killed: it would wait for what its caller can do
        better.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the engine, not for a submission under way
            )
        except OSError as error:
            raise NoAnswer(f"{words[0]} cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(CALL_SECONDS):
                out, err, _ = await asyncio.gather(
                    _read(process.stdout), _read_errors(process, give_up), _write(process, text)
                )
                await process.wait()
        except TimeoutError:
            raise NoAnswer(f"{words[0]} got no answer within {CALL_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        code = process.returncode or 0
        errors = err.decode(errors="replace").strip()
        if code and any(word in errors.lower() for word in self._unreachable):
            raise NoAnswer(f"{words[0]}: {last_line(errors)}")
        return code, out.decode(errors="replace"), errors

    async def ask(self, *words: str) -> str:
        """The output of a command that asks. Raises `MemberError` with its last line where it fails."""
        code, out, errors = await self.call(*words)
        if code:
            raise MemberError(f"{words[0]}: {last_line(errors) or f'it ended with {code}'}", transient=True)
        return out

    async def each(self, ids: Sequence[str], *words: str) -> str:
        """Run a command with some ids at a time behind it; return the first of its errors."""
        said = ""
        for some in in_parts(ids):
            code, _, errors = await self.call(*words, *some)
            said = said or (last_line(errors) or f"{words[0]} failed" if code else "")
        return said


def in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many ids at a time as one command takes."""
    for start in range(0, len(ids), IDS):
        yield ids[start : start + IDS]


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    return await stream.read() if stream is not None else b""


async def _read_errors(process: asyncio.subprocess.Process, give_up: Callable[[str], bool] | None) -> bytes:
    found = b""
    while process.stderr is not None and (line := await process.stderr.readline()):
        found += line
        if give_up is not None and give_up(line.decode(errors="replace")):
            process.kill()
    return found


async def _write(process: asyncio.subprocess.Process, text: str) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(text.encode())
            await process.stdin.drain()
        process.stdin.close()


def last_line(errors: str) -> str:
    """The last line of what a command wrote to its errors, without the command's name."""
    return _COMMAND.sub("", errors.splitlines()[-1] if errors else "")
