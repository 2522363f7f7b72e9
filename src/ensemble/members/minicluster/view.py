"""Finding Flux in a pod that shares the Flux Operator's view: its broker's socket and its commands."""

from __future__ import annotations

__all__ = ["VIEWS", "enter", "socket_of"]

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

VIEWS: Final = ("/mnt/flux/view", "/opt/view", "/mnt/flux")
"""Where the Flux Operator mounts its view, by its versions; `FLUX_VIEW` names another."""
_SOCKETS: Final = ("run/flux/local", "var/run/flux/local")


def _views(view: str) -> Iterable[str]:
    named = view or os.environ.get("FLUX_VIEW", "")
    return (named,) if named else VIEWS


def socket_of(view: str = "") -> str:
    """The address of the broker: `FLUX_URI`, else the socket in the view; empty while there is none.

    `view` is the directory that the view is mounted at, where it is not one of `VIEWS`.
    """
    if not view and os.environ.get("FLUX_URI"):
        return os.environ["FLUX_URI"]
    for folder in _views(view):
        for name in _SOCKETS:
            path = Path(folder) / name
            if path.is_socket():
                return f"local://{path}"
    return ""


def enter(view: str = "") -> None:
    """Put the view's commands on `PATH`, so that its Python bindings are found as well."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in _views(view):
        commands = str(Path(folder) / "bin")
        if os.access(f"{commands}/flux", os.X_OK) and commands not in path:
            os.environ["PATH"] = os.pathsep.join([commands, *path])
            return
