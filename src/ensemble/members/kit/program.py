"""From a job's description to the command that a queue starts."""

from __future__ import annotations

__all__ = ["Program", "base_environment", "job_program", "phases"]

import os
import shlex
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ensemble.members.kit.files import JobFiles
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec


class Program(NamedTuple):
    """What starts a job: its words, and the files (path to text) that must be written first."""

    words: list[str]
    files: dict[str, str]


def job_program(spec: JobSpec, files: JobFiles, launch: Sequence[str]) -> Program:
    """The program of a job whose tasks are started by the words `launch` (none: the program starts once, itself).

    Raises `MemberError` for a job of which no program can be made.
    """
    written: dict[str, str] = {}
    if spec.script:
        inner = files.script + ".command"
        written[inner] = spec.script
        words = [*launch, *_interpreter(spec.script), inner]
    elif spec.command:
        words = [*launch, *spec.command]
    else:
        raise MemberError("its command is empty")
    if spec.setup or spec.cleanup:
        written[files.script] = phases(spec.setup, words, spec.cleanup, files.phase)
        words = ["/bin/sh", files.script]
    return Program(words, written)


def _interpreter(script: str) -> list[str]:
    first = script.split("\n", 1)[0]
    if not first.startswith("#!"):
        return ["/bin/sh", "-e"]
    try:
        return shlex.split(first[2:])
    except ValueError as error:
        raise MemberError(f"the first line of its script, {first!r}: {error}") from error


def phases(setup: str, words: Sequence[str], cleanup: str, phase: str) -> str:
    """The text of a shell script that runs `setup`, the program, and `cleanup`.

    `setup` runs in the same shell, so what it loads is there for the program. The script writes to the file `phase`
    which part failed; it is not guessed from the exit code.
    """
    return "\n".join(
        (
            "phase=setup",
            f'trap \'code=$?; [ "$phase" = command ] || echo "$phase" > {shlex.quote(phase)}; exit $code\' EXIT',
            "set -e",
            setup,
            "set +e",
            "phase=command",
            shlex.join(words),
            "code=$?",
            "phase=cleanup",
            "set -e",
            cleanup,
            "phase=command",
            'exit "$code"',
            "",
        )
    )


def base_environment() -> dict[str, str]:
    """Our own environment for jobs: programs beside our interpreter (a virtual environment's `mpiexec`) are found."""
    found = dict(os.environ)
    beside = os.path.dirname(sys.executable)
    path = found.get("PATH", os.defpath)
    if beside not in path.split(os.pathsep):
        found["PATH"] = beside + os.pathsep + path
    found.pop("ENSEMBLE_FAILPOINT", None)
    return found
