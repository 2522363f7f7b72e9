"""From descriptions to Flux jobs. Jobs that can never run are found before anything is sent."""

from __future__ import annotations

__all__ = ["Broken", "Shipping"]

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ensemble.members.contract import Context
from ensemble.members.flux.broker import Broker, FluxError
from ensemble.members.flux.calls import feasible
from ensemble.members.flux.entries import Mark
from ensemble.members.flux.jobspec import jobspec, plan, prepare, urgency
from ensemble.members.flux.sizes import Sizes
from ensemble.members.kit.program import Program, base_environment
from ensemble.members.kit.staging import StagingError
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec
from ensemble.model.placement import too_large

_NO_SERVICE: Final = 38
"""ENOSYS: nobody offers that service."""


class Broken(NamedTuple):
    """A job that ends before it is with Flux."""

    spec: JobSpec
    reason: str
    text: str


class Shipping:
    """Makes jobspecs for one opening of the member. `token` marks our jobs; `shared`: all nodes see the run's files;
    `environment`: what jobs inherit, by default our own."""

    def __init__(
        self, context: Context, broker: Broker, token: str, shared: bool, environment: Mapping[str, str] | None = None
    ) -> None:
        self._context, self._broker, self._token, self._shared = context, broker, token, shared
        inherited = base_environment() if environment is None else environment
        self._base = {name: value for name, value in inherited.items() if _goes_along(name, value)}
        self._feasible: dict[bytes, str] = {}
        self._sizes: Sizes | None = None

    def resized(self, sizes: Sizes) -> None:
        """The instance has this size now: what could not run may, and the other way round."""
        if self._sizes is None or sizes.cores_all != self._sizes.cores_all or sizes.nodes_all != self._sizes.nodes_all:
            self._feasible.clear()
        self._sizes = sizes

    async def impossible(self, spec: JobSpec) -> str:
        """Why this instance can never run a job, by its size and by what its scheduler says; empty when it can.

        Raises `MemberError` when the broker does not answer.
        """
        need, sizes = spec.resources, self._sizes
        reason = too_large(need, sizes.nodes_all, sizes.cores_all, "this Flux instance") if sizes is not None else ""
        if reason:
            return reason
        shape = msgspec.json.encode([need, spec.launcher, spec.avoid, spec.options, bool(spec.setup or spec.cleanup)])
        if shape not in self._feasible:
            self._feasible[shape] = await self._ask_scheduler(spec)
        return self._feasible[shape]

    async def _ask_scheduler(self, spec: JobSpec) -> str:
        try:
            text = self._jobspec(spec, Program(["true"], {}), {})
        except MemberError as error:
            return str(error)
        try:
            await self._broker.call(feasible(msgspec.json.decode(text)))
        except FluxError as error:
            # a scheduler without this check raises an exception for the job later
            return "" if error.number == _NO_SERVICE else str(error)
        return ""

    def make(self, specs: list[JobSpec]) -> tuple[list[tuple[JobSpec, bytes]], list[Broken]]:
        """Make directories, inputs and scripts: the jobs with their jobspecs, and those that cannot be. Blocks."""
        ready: list[tuple[JobSpec, bytes]] = []
        broken: list[Broken] = []
        for spec in specs:
            try:
                program = prepare(spec, self._context.run_dir) if self._shared else self._pack(spec)
                environment = {**self._base, "OMP_NUM_THREADS": str(spec.resources.cores), **spec.env}
                ready.append((spec, self._jobspec(spec, program, environment)))
            except StagingError as error:
                broken.append(Broken(spec, "inputs", str(error)))
            except MemberError as error:
                broken.append(Broken(spec, "launch", str(error)))
            except ValueError as error:
                broken.append(Broken(spec, "launch", f"no jobspec can be made of it: {error}"))
            except OSError as error:
                reason = "launch" if isinstance(error, FileExistsError) else "storage"
                broken.append(Broken(spec, reason, f"{error.filename}: {error.strerror}"))
        return ready, broken

    def _jobspec(self, spec: JobSpec, program: Program, environment: dict[str, str]) -> bytes:
        """Raises `MemberError` for a job of which no jobspec can be made."""
        options = {**self._context.options, **spec.options}
        constraints: list[Any] = []
        if "requires" in options:
            constraints.append(self._broker.constraint(str(options["requires"])))
        # hosts of other members, or of the instance before, are avoided anyway
        if hosts := self._broker.known_hosts(spec.avoid):
            constraints.append({"not": [{"hostlist": [hosts]}]})
        mark = Mark(
            self._token, self._context.run, self._context.name, spec.group, spec.ref.key, spec.ref.attempt,
            epoch=self._context.epoch, workdir=spec.workdir, outputs=spec.outputs, keep=spec.keep,
            phases=bool(spec.setup or spec.cleanup), urgency=urgency(options),
        )  # fmt: skip
        return jobspec(
            spec, program.words, run_dir=self._context.run_dir, environment=environment, options=options, mark=mark,
            cores_per_node=self._sizes.cores_per_node if self._sizes else 1, constraints=constraints,
            carried=None if self._shared else program.files,
        )  # fmt: skip

    def _pack(self, spec: JobSpec) -> Program:
        """The program with all files that must go along. Raises `StagingError`, `MemberError`."""
        program = plan(spec, self._context.run_dir)
        workdir = os.path.join(self._context.run_dir, spec.workdir)
        files = dict(program.files)
        for one in spec.inputs:
            if one.text is None:
                raise StagingError(f"input {one.path}: nodes without a volume in common get only texts (`text`)")
            target = os.path.normpath(os.path.join(workdir, one.to))
            if not target.startswith(workdir.rstrip("/") + "/"):
                raise StagingError(f"input {one.to}: outside the work directory")
            files[target] = one.text
        return program._replace(files=files)


def _goes_along(name: str, value: str) -> bool:
    """Whether a job inherits a variable of ours."""
    # a jobspec is JSON, so what is no text cannot go with it
    is_text = not any("\ud800" <= letter <= "\udfff" for letter in name + value)
    # an engine that is a task of a job itself has a place among tasks that is not theirs
    return is_text and not name.startswith(("PMI_", "PMIX_"))
