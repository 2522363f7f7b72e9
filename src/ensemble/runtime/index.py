"""Where runs lie, and which there are: directories `<base>/<name>-<n>` and a note of each in `$ENSEMBLE_HOME`."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ensemble.model.errors import InputError, UnknownRun


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run as the index knows it. `created` is seconds since the Unix epoch."""

    name: str
    path: Path
    created: float


def home() -> Path:
    """`$ENSEMBLE_HOME`, else the platform's state directory."""
    named = os.environ.get("ENSEMBLE_HOME")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state) / "ensemble" if state else Path("~/.local/state/ensemble").expanduser()


def make_run_dir(name: str, base: str = "runs", run_dir: str = "") -> Path:
    """Make the directory of a new run. Raises `InputError` when it cannot be made, or holds a run already."""
    try:
        if run_dir:
            path = Path(run_dir).absolute()
            path.mkdir(parents=True, exist_ok=True)
            _refuse_used(path)
            return path
        folder = Path(base).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        taken = [entry.name.rpartition("-")[2] for entry in folder.glob(f"{name}-*")]
        number = max((int(word) for word in taken if word.isdigit()), default=0) + 1
        while True:
            path = folder / f"{name}-{number}"
            try:
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
    except OSError as error:
        raise InputError(f"{run_dir or base}: {error.strerror}; a run needs a directory it can write to") from error


def _refuse_used(path: Path) -> None:
    """A run's directory is its own: `ensemble rm` removes all of it."""
    if (path / "journal").exists():
        raise InputError(f"{path} holds a run already; `ensemble resume {path}` goes on with it")
    # what a run that never got as far as to start may have left
    others = [entry.name for entry in path.iterdir() if entry.name not in ("run.json", "requests", "keeper", "jobs")]
    if others:
        raise InputError(f"{path} is not empty (it holds {others[0]}); a run needs a directory of its own")


def remember(run_dir: Path) -> None:
    """Note a run in the index. A home that cannot be written never hurts a run."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = home() / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        mark = sha256(os.fsencode(run_dir)).hexdigest()[:16]
        (folder / mark).write_text(f"{time.time()}\n{run_dir}\n")


def known() -> list[KnownRun]:
    """Every run of the index that is still there, oldest first."""
    found = []
    with contextlib.suppress(OSError, RuntimeError):
        for entry in (home() / "runs").iterdir():
            with contextlib.suppress(OSError, ValueError):
                created, path = entry.read_text().splitlines()[:2]
                if (Path(path) / "journal").is_dir():
                    found.append(KnownRun(Path(path).name, Path(path), float(created)))
    return sorted(found, key=lambda run: run.created)


def find(name: str) -> Path:
    """The directory of a run: a path, a name, or `last`. Raises `UnknownRun`."""
    path = Path(name)
    if (path / "journal").is_dir():
        return path.absolute()
    if (Path("runs") / name / "journal").is_dir():
        return (Path("runs") / name).absolute()
    runs = known()
    if name == "last":
        if not runs:
            raise UnknownRun("there is no run yet; `ensemble run FILE` makes one")
        return runs[-1].path
    named = [run for run in runs if run.name == name]
    if named:
        return named[-1].path
    from difflib import get_close_matches

    close = get_close_matches(name, [run.name for run in runs], 1)
    hint = f"; did you mean {close[0]}?" if close else "; `ensemble list` shows those there are"
    raise UnknownRun(f"there is no run {name!r}{hint}")


def forget(run_dir: Path) -> None:
    """Take a run out of the index."""
    with contextlib.suppress(OSError):
        (home() / "runs" / sha256(os.fsencode(run_dir)).hexdigest()[:16]).unlink()
