"""What is made ready for a job before it starts: its directory, inputs, command and environment."""

from __future__ import annotations

__all__ = ["Waiting"]

import contextlib
import os

from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.staging import stage
from ensemble.members.local.launch import environment, program
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec


class Waiting:
    """A job in the keeper's queue."""

    __slots__ = ("files", "ready", "spec")

    def __init__(self, spec: JobSpec, run_dir: str) -> None:
        self.spec = spec
        self.files = JobFiles(run_dir, spec.ref.key, spec.ref.attempt)
        self.ready: tuple[list[str], dict[str, str]] | None = None
        """Its argument vector and its environment, once they are made."""

    @property
    def ref(self) -> tuple[str, int]:
        """(key, attempt)"""
        return self.spec.ref.key, self.spec.ref.attempt

    def prepare_ahead(self, base: dict[str, str], gpus: tuple[int, ...] | None) -> None:
        """Do what may be done while no slot is free; whatever cannot be done raises later, in `prepare`."""
        spec = self.spec
        # what a job reads is staged when it starts: an earlier job may still be writing it
        if not (self.ready or spec.inputs or spec.script or spec.setup or spec.cleanup or spec.resources.gpus):
            with contextlib.suppress(MemberError, OSError):
                self.prepare(base, gpus)

    def prepare(self, base: dict[str, str], gpus: tuple[int, ...] | None) -> tuple[list[str], dict[str, str]]:
        """Make its directory and files; return its command and environment. `gpus` is None where there are none at all.

        Raises `MemberError`, `StagingError` and `OSError`.
        """
        if self.ready is not None:
            return self.ready
        spec, files, path = self.spec, self.files, base["PATH"]
        with contextlib.suppress(FileExistsError):
            os.mkdir(files.folder)
        if spec.workdir != files.folder and not os.path.isdir(spec.workdir):
            os.makedirs(spec.workdir, exist_ok=True)
        if spec.inputs:
            stage(spec.inputs, spec.workdir)
        words, written = program(spec, files, path)
        for name, text in written.items():
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
        self.ready = words, environment(base, spec, gpus)
        return self.ready
