"""The ceilings of a server, which no file can raise."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from ensemble.model.errors import EnsembleError, InputError
from ensemble.runtime.opening import members_of
from ensemble.spec.model import EnsembleSpec, MemberSpec


class CeilingError(EnsembleError):
    """A ceiling of the server does not allow this."""


class Ceilings(Struct, frozen=True):
    """0: none. `ensembles` at once, `jobs` of each, `nodes` of each member, `rate` of submission in jobs a second over
    all of them; `custom`: own code may run."""

    ensembles: int = 0
    jobs: int = 0
    nodes: int = 0
    custom: bool = False
    rate: float = 0.0

    def folded(self, spec: EnsembleSpec) -> EnsembleSpec:
        """The ensemble under these ceilings. Raises `CeilingError` for more nodes, `InputError` for custom code."""
        if not self.custom and _has_code(spec):
            raise InputError(
                "this ensemble brings functions of its own, and the server was started without --allow-custom"
            )
        if self.jobs:
            jobs = min(spec.limits.jobs or self.jobs, self.jobs)
            spec = replace(spec, limits=replace(spec.limits, jobs=jobs))
        if self.nodes:
            members = {name: self._member(name, member) for name, member in members_of(spec).items()}
            spec = replace(spec, members=members)
        return spec

    def _member(self, name: str, member: MemberSpec) -> MemberSpec:
        if member.nodes > self.nodes:
            raise CeilingError(f"member {name} asks for {member.nodes} nodes; this server allows {self.nodes}")
        return replace(member, max_nodes=min(member.max_nodes or self.nodes, self.nodes))


def names_code(plain: object) -> bool:
    """Whether an action or rule as plain data calls a custom function, at any depth."""
    if isinstance(plain, dict):
        return plain.get("name") == "custom" or any(names_code(one) for one in plain.values())
    return isinstance(plain, list | tuple) and any(names_code(one) for one in plain)


def _has_code(spec: EnsembleSpec) -> bool:
    from msgspec import to_builtins

    outputs = (output for group in spec.jobs for output in group.outputs.values())
    return bool(spec.custom) or any(one.function for one in outputs) or names_code(to_builtins(spec.rules))
