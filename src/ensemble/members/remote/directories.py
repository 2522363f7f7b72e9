"""Directories of a run at the agent's end, where the service's own may not exist."""

from __future__ import annotations

__all__ = ["relocate", "run_dir_here"]

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec


def run_dir_here(asked: str, run: str, base: str) -> str:
    """Where a run lives on this machine, made if need be.

    With a `base` it is `<base>/<run>`; else the service's own directory where that is there (a shared file system),
    else `runs/<run>` below the working directory. Raises `MemberError` when it cannot be written.
    """
    if not run or run in (".", "..") or "/" in run or "\0" in run:
        raise MemberError(f"{run!r} is no name of a run")
    if not base and os.path.isdir(asked) and os.access(asked, os.W_OK | os.X_OK):
        return asked
    path = Path(base or "runs").absolute() / run
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MemberError(f"the agent cannot write to {path}: {error.strerror}", transient=True) from error
    return str(path)


def relocate(asked: str, here: str) -> Callable[[JobSpec], JobSpec]:
    """What brings the run's directory in a job's description to this machine: in paths, commands and environment."""
    if asked == here or not asked or asked == "/":
        return lambda spec: spec
    # only whole names: `<dir>-2` is another directory
    pattern = re.compile(re.escape(asked.rstrip("/")) + r"(?![\w.-])")

    def move(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda _: here, value) if asked in value else value
        if isinstance(value, dict):
            return {name: move(one) for name, one in value.items()}
        if isinstance(value, tuple):
            return tuple(move(one) for one in value)
        return value

    def moved(spec: JobSpec) -> JobSpec:
        return msgspec.structs.replace(
            spec,
            workdir=move(spec.workdir),
            command=move(spec.command),
            script=move(spec.script),
            env=move(spec.env),
            setup=move(spec.setup),
            cleanup=move(spec.cleanup),
            stdout=move(spec.stdout),
            stderr=move(spec.stderr),
            inputs=tuple(
                msgspec.structs.replace(one, to=move(one.to), path=move(one.path), text=move(one.text))
                for one in spec.inputs
            ),
            outputs=tuple(msgspec.structs.replace(one, source=move(one.source)) for one in spec.outputs),
        )

    return moved
