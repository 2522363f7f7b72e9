"""The plan: what a run was built from. Nothing in it changes while the run goes on; all that changes is in `State`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from ensemble.engine.algorithm import Algorithm
from ensemble.model.events import JobEvent
from ensemble.model.jobs import Scalar
from ensemble.spec.expressions import Formula, parse
from ensemble.spec.model import EnsembleSpec, GroupSpec
from ensemble.spec.outline import Outline
from ensemble.spec.render import Renderer
from ensemble.spec.starting import groups_that_start

if TYPE_CHECKING:
    from ensemble.engine.state import Group, Job, Point


@dataclass(frozen=True, eq=False)
class Plan:
    """The checked file and the algorithms there are, with what follows from them.

    What is costly to work out is kept, so that it is worked out once; that is nothing that anybody could see.
    """

    spec: EnsembleSpec
    algorithms: Mapping[str, Algorithm]
    _renderers: dict[tuple[str, str], Renderer] = field(default_factory=dict, init=False)
    _valid: dict[tuple[str, int], Formula] = field(default_factory=dict, init=False)

    @cached_property
    def outline(self) -> Outline:
        """The names in the file."""
        return Outline(self.spec)

    @cached_property
    def templates(self) -> Mapping[str, list[GroupSpec]]:
        """The entries of the file by the group they belong to."""
        return MappingProxyType(self.outline.groups)

    @cached_property
    def starting(self) -> tuple[str, ...]:
        """The groups that start by themselves."""
        return groups_that_start(self.spec)

    @cached_property
    def budgeted(self) -> bool:
        """Whether a limit is on node-hours or cost."""
        return bool(self.spec.limits.node_hours or self.spec.limits.cost)

    def renderer(self, run: str, run_dir: str) -> Renderer:
        """What describes the jobs of a run in that directory."""
        found = self._renderers.get((run, run_dir))
        if found is None:
            self._renderers.clear()
            found = self._renderers[run, run_dir] = Renderer(self.spec, run, run_dir)
        return found

    # ---- groups ------------------------------------------------------------------------------------

    def template(self, point: Point) -> GroupSpec:
        """The entry of the file that a point belongs to."""
        return self.templates[point.group.name][point.template]

    def template_for(self, group: Group, values: Mapping[str, Scalar]) -> int:
        """The first entry of the group with just these axes, else the first."""
        for index, template in enumerate(self.templates[group.name]):
            if set(template.axes) == set(values):
                return index
        return 0

    def verdict(self, job: Job, event: JobEvent) -> str:
        """The reason for which a job that ended with exit code 0 has failed all the same; empty: none."""
        spec = self.template(job.point)
        if any(name in spec.outputs and spec.outputs[name].required for name in event.missing):
            return "outputs"
        if not spec.valid:
            return ""
        key = (job.group.name, job.point.template)
        if key not in self._valid:
            self._valid[key] = Formula(parse(spec.valid))
        values: dict[str, Scalar | None] = dict(job.point.values)
        values.update(event.figures or {})
        values["duration"] = max(0.0, (job.ended or event.time) - job.run_time)
        values["exit_code"] = float(event.exit_code)
        values["attempt"] = float(job.attempt)
        return "" if self._valid[key].value(values) is True else "valid"
