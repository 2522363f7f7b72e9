"""Jobs on nodes that have no file system in common: their files travel with them, and Flux keeps what they write."""

from __future__ import annotations

__all__ = ["Output", "carry", "read_output"]

import asyncio
import base64
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.members.flux import calls
from ensemble.members.flux.broker import Broker, FluxError
from ensemble.members.kit.files import JobFiles, write_durably

Ref = tuple[str, int]

_NOTHING: Final = 2
"""ENOENT: the job has no output."""
_UNPACK: Final = """workdir=$1 files=$2
shift 2
mkdir -p "$workdir" || exit 126
while [ "$files" -gt 0 ]; do
  mkdir -p "$(dirname "$2")" && cp -p "$FLUX_JOB_TMPDIR/$1" "$2.$$" && mv "$2.$$" "$2" || exit 126
  shift 2
  files=$((files - 1))
done
cd "$workdir" && exec "$@"
"""
"""Each task puts the files into their places, in one step each: others of the job may read them already."""


def carry(words: list[str], workdir: str, files: Mapping[str, str]) -> tuple[list[str], dict[str, Any]]:
    """The words of a task that makes `workdir` and `files` (path to text) first, and the jobspec's attribute `files`
    (RFC 37) by which they come to each node."""
    names = {path: f"ensemble.{place}" for place, path in enumerate(files)}
    pairs = [word for path, name in names.items() for word in (name, path)]
    attribute = {names[path]: {"mode": 0o100755, "encoding": "utf-8", "data": text} for path, text in files.items()}
    return ["/bin/sh", "-c", _UNPACK, "sh", workdir, str(len(names)), *pairs, *words], attribute


class _Data(Struct, frozen=True):
    stream: str = ""
    data: str = ""
    encoding: str | dict[str, str] = ""
    """Of these data; in the header, of each stream."""
    repeat: int = 1


class _Line(Struct, frozen=True):
    name: str
    context: _Data = _Data()


_LINE: Final = msgspec.json.Decoder(_Line)


def read_output(text: str) -> dict[str, bytes]:
    """What a job wrote to `stdout` and `stderr`, from its output eventlog (RFC 24)."""
    found = {"stdout": bytearray(), "stderr": bytearray()}
    for line in text.splitlines():
        event = _LINE.decode(line)
        if event.name == "data" and event.context.stream in found:
            data = event.context.data
            part = base64.b64decode(data) if event.context.encoding == "base64" else data.encode()
            found[event.context.stream] += part * event.context.repeat
    return {name: bytes(data) for name, data in found.items()}


class Output:
    """What the jobs of a run have written, as Flux keeps it. `native` gives the Flux job of an attempt (0: none)."""

    def __init__(self, run_dir: str, broker: Broker, native: Callable[[Ref], int]) -> None:
        self._run_dir, self._broker, self._native = run_dir, broker, native

    async def read(self, ref: Ref) -> dict[str, bytes]:
        """Up to now. Raises `MemberError` when the broker does not answer."""
        number = self._native(ref)
        try:
            text = await self._broker.call(calls.output(number)) if number else ""
        except FluxError as error:
            if error.number != _NOTHING:
                raise
            text = ""
        return read_output(text)

    async def write(self, refs: Iterable[Ref]) -> None:
        """Write it into the files of jobs that have ended, where their figures are read. Raises `MemberError`."""
        for ref in refs:
            found = await self.read(ref)
            await asyncio.to_thread(self._write, ref, found)

    def _write(self, ref: Ref, found: Mapping[str, bytes]) -> None:
        files = JobFiles(self._run_dir, *ref)
        os.makedirs(files.folder, exist_ok=True)
        for path, name in ((files.stdout, "stdout"), (files.stderr, "stderr")):
            write_durably(Path(path), found[name])
