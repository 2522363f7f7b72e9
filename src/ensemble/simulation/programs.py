"""Programs whose time is known without running them: `sleep 5`, `echo done`, `false`, and shell lines of these.

So that a first file can be simulated before anybody has written a model for it.
"""

from __future__ import annotations

__all__ = ["known_run"]

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from ensemble.model.errors import InputError
from ensemble.spec.units import parse_duration

_INSTANT: Final = ("true", "false", ":", "echo", "printf", "hostname", "date", "pwd")
_SHELLS: Final = ("sh", "bash", "dash")
_SEPARATOR = re.compile(r"\n|;|&&")


def known_run(command: Sequence[str], script: str = "") -> tuple[float, int] | None:
    """(seconds, exit code) of a command or script; None when that cannot be known."""
    return _script(script) if script else _command(command)


def _command(words: Sequence[str]) -> tuple[float, int] | None:
    program = PurePath(words[0]).name if words else ""
    if program in _SHELLS and len(words) == 3 and words[1] in ("-c", "-ec"):
        return _script(words[2])
    if program == "sleep" and len(words) > 1:
        seconds = 0.0
        for word in words[1:]:
            try:
                seconds += parse_duration(word)
            except InputError:
                return None
        return seconds, 0
    if program in _INSTANT and not any(sign in word for word in words for sign in "$`|<>&"):
        return 0.0, 1 if program == "false" else 0
    return None


def _script(text: str) -> tuple[float, int] | None:
    seconds = 0.0
    code = 0
    for part in _SEPARATOR.split(text):
        line = part.strip()
        if not line or line.startswith("#"):
            continue
        try:
            words = shlex.split(line)
        except ValueError:
            return None
        if words[0] == "exit":
            return (seconds, int(words[1]) & 0xFF) if len(words) == 2 and words[1].isdecimal() else None
        known = _command(words)
        if known is None:
            return None
        seconds += known[0]
        code = known[1]
        if code:
            break  # scripts are run by `sh -e`
    return seconds, code
