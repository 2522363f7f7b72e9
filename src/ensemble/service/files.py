"""An ensemble file that came over the wire, and what came beside it."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from secrets import token_hex

from msgspec.structs import replace

from ensemble.model.errors import InputError, Problem, SpecError
from ensemble.runtime.examining import examine
from ensemble.runtime.opening import algorithms, member_kinds, on_member
from ensemble.session.v1 import ensembles_pb2 as pb
from ensemble.spec.loader import load_with_places
from ensemble.spec.model import EnsembleSpec


def unpack(message: pb.EnsembleFile, folder: Path) -> Path:
    """Put a file and what belongs to it into a directory of its own. Raises `InputError`."""
    place = folder / token_hex(8)
    path = place / (PurePosixPath(message.name.replace("\0", "")).name or "ensemble.yaml")
    try:
        place.mkdir(parents=True, mode=0o700)
        path.write_bytes(message.content)
        for name, content in message.beside.items():
            relative = PurePosixPath(name)
            if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
                raise InputError(f"{name!r} is not a path beside the file")
            target = place / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except InputError:
        shutil.rmtree(place, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise InputError(f"{place}: {error.strerror}; the server cannot accept this") from error
    return path


def discard(path: Path) -> None:
    """Take away what `unpack` put there."""
    shutil.rmtree(path.parent, ignore_errors=True)


def read(path: Path, name: str, member: str = "", nodes: int = 0) -> tuple[EnsembleSpec, list[Problem]]:
    """The ensemble and what looks wrong with it. Raises `SpecError` with the person's own name of the file."""
    try:
        spec, places = load_with_places(path, algorithms(), () if member else member_kinds())
        spec = on_member(spec, member, nodes)
        return spec, [_called(problem, name) for problem in examine(spec, places)]
    except SpecError as error:
        raise SpecError([_called(problem, name) for problem in error.problems]) from error
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def _called(problem: Problem, name: str) -> Problem:
    return Problem(problem.message, name, problem.line, problem.column, problem.where, problem.hint)


def with_seed(spec: EnsembleSpec, seed: int | None) -> EnsembleSpec:
    """The same with another seed."""
    return spec if seed is None else replace(spec, seed=seed)
