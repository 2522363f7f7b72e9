"""Finding Flux' own Python bindings, which come with Flux and not from an index of packages."""

from __future__ import annotations

__all__ = ["load"]

import shutil
import subprocess
import sys
from importlib import import_module
from typing import Any

from ensemble.model.errors import MemberUnavailable

_SECONDS = 30.0
_ASK = """
import flux, os, sys
print(os.path.dirname(os.path.dirname(flux.__file__)))
print(*sys.version_info[:2], sep='.')
"""


def load() -> Any:
    """The module `flux`, with those parts imported that are used.

    Where this Python does not know it, the `flux` command on `PATH` is asked where its bindings lie. Raises
    `MemberUnavailable` with one line that says what is missing.
    """
    try:
        return _imported()
    except ImportError as error:
        why = str(error)
    command = shutil.which("flux")
    if command is None:
        raise MemberUnavailable(
            f"Flux is not here: there is no `flux` on PATH, and Python {_version()} has no module `flux` ({why})"
        )
    folder, python = _ask(command)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return _imported()
    except ImportError as error:
        sys.path.remove(folder)
        raise MemberUnavailable(
            f"the bindings of {command} were made for Python {python} and do not load in this {_version()} ({error}); "
            "install 'ensemble-hpc[flux]' for that Python"
        ) from error


def _imported() -> Any:
    flux = import_module("flux")
    for name in ("flux.constants", "flux.job", "flux.kvs"):
        import_module(name)
    return flux


def _version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _ask(command: str) -> tuple[str, str]:
    """Where the bindings of this `flux` lie and for which Python. Raises `MemberUnavailable`."""
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own flux
            [command, "python", "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        folder, python = answer.stdout.split("\n")[:2]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        text = getattr(error, "stderr", "") or str(error)
        raise MemberUnavailable(f"{command} has no Python bindings: {text.strip().splitlines()[-1]}") from error
    return folder, python
