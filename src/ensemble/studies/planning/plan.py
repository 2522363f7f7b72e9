"""The file of a plan, declared by keys as an ensemble file is, and read by the same code."""

from __future__ import annotations

__all__ = ["Arrivals", "Dummy", "Mix", "Plan", "PlanFile", "Structure", "read_plan"]

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Struct, structs

from ensemble.model.errors import Problem, SpecError
from ensemble.model.jobs import Scalar
from ensemble.spec import keys
from ensemble.spec.convert import Converter, Failed, nearest
from ensemble.spec.keys import DURATION, LIMIT_DURATION, LIMIT_NUMBER, NAME, TEXT, Key, Shape, shape, whole, word
from ensemble.spec.nodes import Place, Tree, read_tree
from ensemble.spec.reader import Reader
from ensemble.spec.sampling import DESIGNS

STRUCTURES: Final = ("bag", "chains", "fan-out", "iterate", "workflow")
ARRIVALS: Final = ("start", "poisson", "bursts", "trace")


def _part(reader: Converter, tree: Tree, where: str) -> float:
    value = reader.number(tree, where)
    if not 0 <= value <= 1:
        reader.complain(tree, where, f"{value:g} is not a share, which is a number from 0 to 1")
        raise Failed
    return value


def _share(reader: Converter, tree: Tree, where: str) -> float:
    value = _part(reader, tree, where)
    if not value:
        reader.complain(tree, where, "a share of 0 is nothing; leave the entry out")
        raise Failed
    return value


SPAN: Final = shape("span", {}, "a duration or `[least, greatest]`")
SHARES: Final = shape("shares", {}, "a number from 0 to 1 or `[least, greatest]`")
RATES: Final = shape("rates", {}, "a number or `[least, greatest]`")
SHARE: Final = Shape(_share, {}, "a number above 0, up to 1")
COUNTS: Final = shape("counts", {}, "a whole number or a list of them")
SIZES: Final = shape("values", {}, "a value or a list of them")
NAMES: Final = shape("names", {}, "a list of names")

Range = tuple[float, float]


class Dummy(Struct, frozen=True, kw_only=True):
    """Jobs of the program that spends time as it is told."""

    duration: Annotated[Range, Key("How long a job takes, or the least and the greatest.", SPAN)]
    mpi: Annotated[Range, Key("The share of this time in MPI, or the least and the greatest.", SHARES)] = (0.0, 0.0)
    message: Annotated[int, Key("The size of an MPI message in bytes.", whole(1))] = 8192
    write: Annotated[Range, Key("What a task writes in MB/s, or the least and the greatest.", RATES)] = (0.0, 0.0)
    memory: Annotated[int, Key("Memory that a task works on, in MB.", whole(0))] = 0


class Mix(Struct, frozen=True, kw_only=True):
    """One kind of job in the mix: a cell on a problem, or a dummy."""

    name: Annotated[str, Key("The name of its group; by default the application or `dummy`.", NAME)] = ""
    cell: Annotated[str, Key("The cell, such as `lammps/debian/mpich`.", TEXT)] = ""
    problem: Annotated[str, Key("The problem of the application.", TEXT)] = ""
    size: Annotated[tuple[Scalar, ...], Key("The size of the problem, or several to draw from.", SIZES)] = ()
    tasks: Annotated[tuple[int, ...], Key("Tasks of a job, or several numbers to draw from.", COUNTS)] = (1,)
    dummy: Annotated[Dummy | None, Key("A dummy instead of a cell.", shape("dummy", {}, "[Dummies](#dummies)"))] = None
    image: Annotated[str, Key("The image of its jobs on Kubernetes, where it is not that of the others.", TEXT)] = ""
    share: Annotated[float, Key("Its share of the jobs; by default what the others leave.", SHARE)] = 0.0


class Arrivals(Struct, frozen=True, kw_only=True):
    """When jobs are submitted; those of a structure when its first job is."""

    pattern: Annotated[
        str,
        Key(
            "All at the start, at random times (`poisson`), in bursts, or as in a trace.",
            word(*ARRIVALS, what="pattern of arrivals"),
        ),
    ] = "start"
    every: Annotated[float, Key("The mean time between two arrivals, or that between two bursts.", keys.PERIOD)] = 0.0
    size: Annotated[int, Key("Jobs of a burst.", whole(1))] = 1
    file: Annotated[str, Key("The trace, in the Standard Workload Format.", TEXT)] = ""
    speed: Annotated[float, Key("How many times faster the trace is played.", keys.NUMBER_ABOVE_ZERO)] = 1.0


class Structure(Struct, frozen=True, kw_only=True):
    """How jobs depend on each other."""

    kind: Annotated[
        str,
        Key(
            "Independent jobs, chains, one job with many after it, the same job again and again, or a workflow's file.",
            word(*STRUCTURES, what="structure"),
        ),
    ] = "bag"
    length: Annotated[int, Key("Jobs of a chain.", whole(1))] = 3
    steps: Annotated[tuple[str, ...], Key("The kinds of jobs of a chain in this order, by their names.", NAMES)] = ()
    width: Annotated[int, Key("Jobs between the first and the last of a fan-out.", whole(1))] = 4
    rounds: Annotated[int, Key("The most rounds of an iteration.", whole(1))] = 3
    until: Annotated[str, Key("A condition over metrics that ends an iteration.", TEXT)] = ""
    file: Annotated[str, Key("The workflow, in WfFormat.", TEXT)] = ""


class Plan(Struct, frozen=True, kw_only=True):
    """What an experiment should be like."""

    name: Annotated[str, Key("The name of the ensemble.", NAME)] = "experiment"
    seed: Annotated[int, Key("The number from which every choice follows.", whole(0))] = 0
    jobs: Annotated[int, Key("The number of jobs; by default as many as the targets need.", keys.LIMIT_COUNT)] = 0
    makespan: Annotated[float, Key("The time from the start to the end of the last job.", LIMIT_DURATION)] = 0.0
    core_hours: Annotated[float, Key("The core-hours of all jobs together.", LIMIT_NUMBER)] = 0.0
    mpi: Annotated[
        Range | None, Key("The share of MPI in the time of all tasks, or the least and the greatest.", SHARES)
    ] = None
    tolerance: Annotated[float, Key("How far a target may be missed, as a share of it.", SHARE)] = 0.05
    mix: Annotated[
        tuple[Mix, ...], Key("What kinds of jobs there are.", shape("mix", {}, "a list of [Mix](#mix)"))
    ] = ()
    arrivals: Annotated[
        Arrivals, Key("When jobs are submitted.", keys.object_shape(Arrivals, "[Arrivals](#arrivals)"))
    ] = Arrivals()
    structure: Annotated[
        Structure, Key("How jobs depend on each other.", shape("structure", {}, "[Structure](#structure)"))
    ] = Structure()
    sampling: Annotated[str, Key("How durations, sizes and tasks are drawn.", word(*DESIGNS, what="way to draw"))] = (
        "latin-hypercube"
    )
    hookup: Annotated[float, Key("What the launcher takes to start a dummy.", DURATION)] = 0.1
    extrapolate: Annotated[bool, Key("Whether models are used outside what was measured.", keys.BOOLEAN)] = False
    members: Annotated[
        dict[str, Any], Key("Where it is to run, as in an ensemble file; by default on this machine.", keys.MEMBERS)
    ] = {}


class PlanFile(NamedTuple):
    """A plan, its members as they are written, the directory of the file, and where each value stands."""

    plan: Plan
    members: dict[str, Any]
    directory: str
    places: dict[str, Place]

    def problem(self, where: str, message: str, hint: str = "") -> SpecError:
        """The error for a value that cannot be, with its place in the file."""
        place = self.places.get(where, Place())
        return SpecError([Problem(message, place.file, place.line, place.column, where, hint)])


def read_plan(path: str | Path) -> PlanFile:
    """Read a plan.

    Raises `FileError` when the file cannot be read and `SpecError`, with every problem found, when it says something
    impossible.
    """
    tree = read_tree(path)
    reader = _PlanReader(os.path.dirname(os.path.abspath(path)), 0)
    plan: Plan | None = None
    try:
        plan = Plan(**reader.struct(tree, Plan, ""))
        _check(reader, tree, plan)
    except Failed:
        assert reader.problems
    if reader.problems or plan is None:
        raise SpecError(sorted(reader.problems, key=lambda problem: (problem.line, problem.column)))
    plan = structs.replace(plan, mix=_named(plan.mix))
    members = tree.value["members"][1].plain() if "members" in tree.value else {}
    return PlanFile(plan, members, reader.directory, reader.places)


class _PlanReader(Reader):
    """A plan's own spellings: a method for each shape above, of the same name."""

    def elsewhere(self, key: str) -> str:
        """Nothing of a plan is looked up in an ensemble file."""
        return ""

    def span(self, tree: Tree, where: str) -> Range:
        """Seconds, or the least and the greatest."""
        return self._range(tree, where, self.positive_duration)

    def shares(self, tree: Tree, where: str) -> Range:
        """A share, or the least and the greatest."""
        return self._range(tree, where, lambda one, inner: _part(self, one, inner))

    def rates(self, tree: Tree, where: str) -> Range:
        """A rate, or the least and the greatest."""
        return self._range(tree, where, self._rate)

    def _rate(self, tree: Tree, where: str) -> float:
        value = self.number(tree, where)
        if value < 0:
            self.complain(tree, where, f"{value:g} is negative")
            raise Failed
        return value

    def _range(self, tree: Tree, where: str, read: Any) -> Range:
        if not isinstance(tree.value, list):
            value = read(tree, where)
            return value, value
        found = self.items(tree, read, where)
        if len(found) != 2 or found[0] > found[1]:
            self.complain(tree, where, "two values are expected here, the least and the greatest")
            raise Failed
        return found[0], found[1]

    def counts(self, tree: Tree, where: str) -> tuple[int, ...]:
        """Whole numbers of at least 1."""
        return self._some(tree, where, lambda one, inner: self.whole(one, inner, 1))

    def values(self, tree: Tree, where: str) -> tuple[Scalar, ...]:
        """Single values."""
        return self._some(tree, where, self.scalar)

    def names(self, tree: Tree, where: str) -> tuple[str, ...]:
        """Names of entries of the mix."""
        return self._some(tree, where, self.name)

    def _some(self, tree: Tree, where: str, read: Any) -> tuple[Any, ...]:
        found = tuple(self.items(tree, read, where))
        if not found:
            self.complain(tree, where, "there is nothing in this list")
            raise Failed
        return found

    def dummy(self, tree: Tree, where: str) -> Dummy:
        """A dummy."""
        return Dummy(**self.struct(tree, Dummy, where))

    def structure(self, tree: Tree, where: str) -> Structure:
        """A structure, or just its kind."""
        if isinstance(tree.value, dict):
            return Structure(**self.struct(tree, Structure, where))
        return Structure(kind=self.choice(tree, where, STRUCTURES, "structure"))

    def mix(self, tree: Tree, where: str) -> tuple[Mix, ...]:
        """The entries of the mix."""
        return tuple(self.items(tree, self._entry, where))

    def _entry(self, tree: Tree, where: str) -> Mix:
        entry = Mix(**self.struct(tree, Mix, where))
        if bool(entry.cell) == (entry.dummy is not None):
            self.complain(tree, where, "an entry of the mix is either a `cell` or a `dummy`")
            raise Failed
        if entry.cell and not entry.problem:
            self.complain(tree, where, "'problem' is missing: the cell's application is run on one of its problems")
            raise Failed
        return entry


def _named(mix: tuple[Mix, ...]) -> tuple[Mix, ...]:
    """The same entries, each with a name of its own and its share."""
    left = max(0.0, 1 - sum(entry.share for entry in mix))
    open_ones = sum(not entry.share for entry in mix)
    taken = {entry.name for entry in mix}
    found = []
    for entry in mix:
        name, number = entry.name, 1
        if not name:
            stem = re.sub(r"[^A-Za-z0-9_-]", "-", entry.cell.partition("/")[0]) or "dummy"
            name = stem
            while name in taken:
                number += 1
                name = f"{stem}-{number}"
            taken.add(name)
        found.append(structs.replace(entry, name=name, share=entry.share or left / open_ones))
    return tuple(found)


def _check(reader: _PlanReader, tree: Tree, plan: Plan) -> None:
    """Note what does not fit together."""
    arrivals, structure = plan.arrivals, plan.structure
    workflow = structure.kind == "workflow"
    needed = {"poisson": "every", "bursts": "every", "trace": "file"}.get(arrivals.pattern, "")
    if needed and not getattr(arrivals, needed):
        reader.complain(_at(tree, "arrivals"), "arrivals", f"{arrivals.pattern} needs `{needed}`")
    if workflow and not structure.file:
        reader.complain(_at(tree, "structure"), "structure", "workflow needs `file`")
    if workflow and (plan.mix or plan.jobs):
        what = "mix" if plan.mix else "jobs"
        reader.complain(_at(tree, what), what, "a workflow's file says which jobs there are")
    if workflow:
        return
    if not plan.mix:
        reader.complain(_at(tree, "mix"), "mix", "a plan needs a mix of at least one kind of job")
    if not (plan.jobs or plan.makespan or plan.core_hours):
        reader.complain(tree, "", "a plan needs `jobs`, `makespan` or `core_hours`, which say how much there is to do")
    names = [entry.name for entry in plan.mix if entry.name]
    for index, entry in enumerate(plan.mix):
        if entry.name and names.index(entry.name) < index and names.count(entry.name) > 1:
            reader.complain(_at(tree, "mix"), f"mix[{index}].name", f"{entry.name!r} is the name of two entries")
    whole = sum(entry.share for entry in plan.mix)
    if whole > 1 + 1e-9 or (whole < 1 - 1e-9 and all(entry.share for entry in plan.mix)):
        reader.complain(_at(tree, "mix"), "mix", f"the shares add up to {whole:g} instead of 1")
    known = [entry.name for entry in _named(plan.mix)]
    for step in structure.steps:
        if step not in known:
            reader.complain(
                _at(tree, "structure"), "structure.steps", f"{step!r} is no entry of the mix", nearest(step, known)
            )


def _at(tree: Tree, key: str) -> Tree:
    """The value of a key, or the whole where it is not there."""
    return tree.value[key][1] if key in tree.value else tree
