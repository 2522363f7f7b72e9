"""Values that never leave: the environment variables that a group marks as `secret`.

Wherever such a value stands in what is saved (the journal, an output, a script, a file's name), as many asterisks
stand in its place. The length stays, so that a journal stays a journal.
"""

from __future__ import annotations

__all__ = ["Secrets", "secrets_of"]

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Final
from urllib.parse import quote

from msgspec import to_builtins

from ensemble.model.errors import InputError
from ensemble.spec.model import EnsembleSpec

SHORTEST: Final = 6
"""Bytes of the shortest value that can be told from ordinary text."""

_PIECE: Final = 64 << 10
_PLACEHOLDER: Final = re.compile(r"(?<!\{)\{\w[^{}]*\}")


class Secrets:
    """Values to be taken out, in every form in which they may have been written."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        self._forms = sorted((form.encode() for form in forms), key=lambda form: (-len(form), form))
        self._longest = len(self._forms[0]) if self._forms else 0

    def out_of(self, content: bytes) -> bytes:
        """The content without them, of the same length."""
        for form in self._forms:
            content = content.replace(form, b"*" * len(form))
        return content

    def reading(self, file: IO[bytes]) -> Iterator[bytes]:
        """The content of a file without them, in pieces."""
        held = b""
        while piece := file.read(_PIECE):
            content = held + piece
            clean = self.out_of(content)
            # one that begins at the end may go on in the next piece, and is not cut
            end = max(0, len(content) - max(0, self._longest - 1))
            while end and clean[end - 1] != content[end - 1]:
                end -= 1
            yield clean[:end]
            held = content[end:]
        yield self.out_of(held)


def _forms(value: str) -> Iterator[str]:
    """As text, in JSON with and without ASCII alone, in a shell's quotes, in a URL."""
    yield from (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from (value.replace("'", "'\"'\"'"), value.replace("'", "'\\''"), quote(value), quote(value, safe=""))


def secrets_of(spec: EnsembleSpec, environment: Mapping[str, str] = os.environ) -> Secrets:
    """The values of the variables that an ensemble marks as secret: those in its file, and those of this environment.

    Raises `InputError` for one that is known in neither place, too short to be found, or made from parameters: then
    nothing may leave.
    """
    values: list[str] = []
    for group in spec.jobs:
        for name in group.secret:
            if _PLACEHOLDER.search(group.env.get(name, "")):
                raise InputError(
                    f"{name} of group {group.name} is marked as secret, and its value {group.env[name]!r} is made from "
                    "parameters, which stand in many places: write the value, or set it in the environment"
                )
    plain = to_builtins(spec)
    for name in sorted({name for group in spec.jobs for name in group.secret}):
        found = [*_values(plain, name), *([environment[name]] if name in environment else [])]
        if not found:
            raise InputError(
                f"{name} is marked as secret, and its value is not known here, so it cannot be taken out of what the "
                f"jobs wrote: set {name} in the environment (to nothing, if the jobs had none)"
            )
        for value in filter(None, found):
            if len(value.encode()) < SHORTEST:
                raise InputError(
                    f"the value of {name}, which is marked as secret, has fewer than {SHORTEST} bytes: it cannot "
                    "be told from ordinary text"
                )
            values.append(value)
    return Secrets(values)


def _values(plain: Any, name: str) -> Iterator[str]:
    """What a variable is set to, in `env` of a group as in the list of a pod template's `env`."""
    if isinstance(plain, dict):
        if isinstance(plain.get(name), str):
            yield plain[name]
        if plain.get("name") == name and isinstance(plain.get("value"), str):
            yield plain["value"]
    if isinstance(plain, dict | list | tuple):
        for inner in plain.values() if isinstance(plain, dict) else plain:
            yield from _values(inner, name)
