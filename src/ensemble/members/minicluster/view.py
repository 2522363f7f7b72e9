"""Finding Flux in a pod that shares the Flux Operator's view: its broker's socket and its commands."""

from __future__ import annotations

__all__ = ["VIEWS", "broker_environment", "enter", "never_here", "socket_of", "views"]

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

VIEWS: Final = ("/mnt/flux/view", "/opt/view", "/mnt/flux")
"""Where the Flux Operator mounts its view, by its versions; `FLUX_VIEW` names another."""
_SOCKETS: Final = ("run/flux/local", "config/run/flux/local", "var/run/flux/local")
"""Where the broker's socket is below a view: the operator of October 2025 and later has it beside its configuration."""


_ENVIRONMENT_SECONDS: Final = 30.0


def views(view: str = "") -> tuple[str, ...]:
    """The directories where the view may be: `view` where it is named, else `FLUX_VIEW`, else `VIEWS`."""
    named = view or os.environ.get("FLUX_VIEW", "")
    return (named,) if named else VIEWS


def never_here(view: str = "") -> str:
    """Why no broker can ever be found from here; empty where one can. What a pod mounts is there from its start."""
    if (not view and os.environ.get("FLUX_URI")) or any(os.path.isdir(folder) for folder in views(view)):
        return ""
    folders = " or ".join(views(view))
    return f"this is no pod of a MiniCluster: there is no Flux view ({folders}), and FLUX_URI is not set"


def socket_of(view: str = "") -> str:
    """The address of the broker: `FLUX_URI`, else the socket in the view; empty while there is none.

    `view` is the directory that the view is mounted at, where it is not one of `VIEWS`.
    """
    if not view and os.environ.get("FLUX_URI"):
        return os.environ["FLUX_URI"]
    for folder in views(view):
        for name in _SOCKETS:
            path = Path(folder) / name
            if path.is_socket():
                return f"local://{path}"
    return ""


def enter(view: str = "") -> None:
    """Put the view's commands on `PATH`, so that its Python bindings are found as well."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in views(view):
        commands = str(Path(folder) / "bin")
        if os.access(f"{commands}/flux", os.X_OK) and commands not in path:
            os.environ["PATH"] = os.pathsep.join([commands, *path])
            return


async def broker_environment(uri: str) -> dict[str, str] | None:
    """The environment of the broker, which is in a container of another image than ours, perhaps; None where it cannot
    be had."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ENVIRONMENT_SECONDS):
            process = await asyncio.create_subprocess_exec(
                "flux", "exec", "--rank=0", "env", "-0", env={**os.environ, "FLUX_URI": uri},
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            said, _ = await process.communicate()
            if process.returncode == 0:
                pairs = (one.partition("=") for one in said.decode(errors="surrogateescape").split("\0") if one)
                return {name: value for name, _, value in pairs if not name.startswith("FLUX_")}
    return None
