"""Putting a job's input files into its work directory before it starts."""

from __future__ import annotations

__all__ = ["StagingError", "stage"]

import os
import shutil
from collections.abc import Sequence

from ensemble.model.jobs import FileInput


class StagingError(Exception):
    """An input cannot be put into the work directory; the text says which and why."""


def stage(inputs: Sequence[FileInput], workdir: str) -> None:
    """Link each `path` (copy where links do not work) and write each rendered `text`. Raises `StagingError`.

    Nothing is written outside the work directory. What an earlier attempt put there is replaced.
    """
    root = os.path.realpath(workdir)
    for item in inputs:
        target = os.path.normpath(os.path.join(root, item.to))
        if target != root and not target.startswith(root + os.sep):
            raise StagingError(f"input {item.to}: outside the work directory")
        try:
            if os.path.dirname(target) != root:
                os.makedirs(os.path.dirname(target), exist_ok=True)
            if item.text is not None:
                with open(target, "w", encoding="utf-8") as file:
                    file.write(item.text)
            else:
                _link(item.path, target)
        except OSError as error:
            raise StagingError(f"input {item.to}: {error.strerror or error}") from error


def _link(path: str, target: str) -> None:
    if not os.path.exists(path):
        raise StagingError(f"input {path}: no such file")
    if os.path.realpath(path) == os.path.realpath(target):
        return
    if os.path.lexists(target):
        os.unlink(target)
    try:
        os.symlink(path, target)
    except OSError:
        shutil.copy2(path, target)
