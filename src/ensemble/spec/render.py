"""From an entry of `jobs` and the values of a point to the `JobSpec` of one attempt.

Everything is compiled once per entry, and what depends on the point alone is worked out once per point.
`{run}` is the run's directory in every text; the run's id is in the environment as `ENSEMBLE_RUN`.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ensemble.model.errors import ExpressionError, InputError
from ensemble.model.jobs import AttemptRef, FileInput, JobSpec, OutputSpec, Resources, Scalar
from ensemble.spec.expressions import constant, names, parse
from ensemble.spec.model import EnsembleSpec, GroupSpec, OutputRule
from ensemble.spec.placeholders import JOB_NAMES, Template, compile_template, compile_words
from ensemble.spec.units import parse_duration

__all__ = ["LARGEST_COUNT", "LARGEST_SEED", "Renderer", "job_seed"]

LARGEST_SEED: Final = 900_000_000
"""The largest `{seed}`: the bound of the narrowest generator that is common in the field (Marsaglia's, as LAMMPS
uses it: 1 to 900,000,000), so within 31 bits and never 0."""

LARGEST_COUNT: Final = 1_000_000_000
"""The most nodes, tasks, cores or GPUs that can be asked for."""

_POINTS_KEPT: Final = 4_096
"""Points whose worked-out part is kept: bounds memory; a sweep of more recomputes (tens of microseconds a job)."""

_OF_THE_JOB: Final = ("key", "attempt", "seed", "parent")
"""Names whose value differs between the jobs of one point."""


def job_seed(seed: int, key: str) -> int:
    """The `{seed}` of a job: the same for all its attempts, from 1 to `LARGEST_SEED`.

    The first 8 bytes, big-endian, of SHA-256 over `<seed>:<key>`, modulo `LARGEST_SEED`, plus 1.
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % LARGEST_SEED + 1


class Renderer:
    """Makes job descriptions for one run. Pure: it touches no file and keeps nothing but compiled texts."""

    def __init__(self, spec: EnsembleSpec, run: str, run_dir: str) -> None:
        """`run` is the id of the run, `run_dir` its absolute directory (empty before there is one)."""
        self.run, self.run_dir, self.seed = run, run_dir or ".", spec.seed
        self.directory = spec.directory
        self._groups: dict[str, list[GroupSpec]] = {}
        for group in spec.jobs:
            self._groups.setdefault(group.name, []).append(group)
        self._entries: dict[tuple[str, int], _Entry] = {}

    def render(
        self,
        group: str,
        template: int,
        values: Mapping[str, Scalar],
        key: str,
        attempt: int = 1,
        avoid: tuple[str, ...] = (),
        parent: str = "",
    ) -> JobSpec:
        """Describe one attempt of one job.

        `template` counts the entries of that name in file order, from 0. `values` is the point; it must not be
        changed afterwards, for it is remembered by identity and handed on in the description. `parent` is the directory
        of the job that caused this one, relative to that of the run or absolute. Raises `InputError`
        (an `ExpressionError` where a placeholder is to blame) when a text cannot be filled, or a number is no count.
        """
        return self._entry(group, template).point(values).job(key, attempt, avoid, parent)

    def uses(self, group: str, template: int, name: str) -> bool:
        """Whether a text of an entry holds a placeholder of this name."""
        return name in self._entry(group, template).used

    def _entry(self, group: str, template: int) -> _Entry:
        entry = self._entries.get((group, template))
        if entry is None:
            entry = self._entries[group, template] = self._compile(group, template)
        return entry

    def _compile(self, group: str, template: int) -> _Entry:
        entries = self._groups.get(group)
        if not entries or not 0 <= template < len(entries):
            raise InputError(f"there is no entry {template} of group {group!r}")
        return _Entry(self, entries[template])


Values = Mapping[str, Scalar]


class _Part(NamedTuple):
    """How one field of the description is made, and of which names."""

    names: tuple[str, ...]
    make: Callable[[Values], Any]

    @property
    def steady(self) -> bool:
        """Whether it is the same for all jobs of a point."""
        return not any(name in _OF_THE_JOB for name in self.names)


class _Entry:
    """One entry of `jobs`, compiled: a part for each field of the description that the entry says something of."""

    def __init__(self, renderer: Renderer, group: GroupSpec) -> None:
        self.renderer, self.group = renderer, group
        self.where = f"group {group.name}"
        self.names = (*group.axes, *JOB_NAMES)
        self.first = self._program("command", group.command)
        self.later = self._program("retries.command", group.retries.command) if group.retries.command else self.first
        self.parts = dict(self._said())
        parts = (self.first[1], self.later[1], *self.parts.values())
        self.used = frozenset(name for part in parts for name in part.names)
        """The names that its placeholders read."""
        self.first_plan = _Plan({self.first[0]: self.first[1], **self.parts})
        self.later_plan = self.first_plan
        if self.later is not self.first:
            self.later_plan = _Plan({self.later[0]: self.later[1], **self.parts})
        self._points: dict[int, tuple[Values, _Point]] = {}

    def _said(self) -> Iterator[tuple[str, _Part]]:
        """The fields besides the program; one of which the entry says nothing keeps the description's default."""
        group = self.group
        yield "workdir", self._text("workdir", group.workdir)
        yield "resources", self._resources()
        yield "walltime", self._walltime(group.walltime)
        if group.env:
            yield "env", self._mapping("env", group.env, self._text)
        if group.setup:
            yield "setup", self._text("setup", group.setup)
        if group.cleanup:
            yield "cleanup", self._text("cleanup", group.cleanup)
        if group.inputs:
            yield "inputs", _together(tuple, [self._input(index, item) for index, item in enumerate(group.inputs)])
        if group.outputs:
            yield "outputs", _together(tuple, [self._output(name, rule) for name, rule in group.outputs.items()])
        if group.options:
            yield "options", self._mapping("options", group.options, self._scalar)
        if group.simulate:
            yield "duration", self._mapping("simulate", group.simulate, self._scalar)

    def point(self, values: Values) -> _Point:
        """What is worked out for these values; the mapping is kept with it, so that its id stays its own."""
        found = self._points.get(id(values))
        if found is not None:
            return found[1]
        if len(self._points) >= _POINTS_KEPT:
            self._points.clear()
        point = _Point(self, values)
        self._points[id(values)] = (values, point)
        return point

    def _program(self, where: str, text: str) -> tuple[str, _Part]:
        """The field, `command` or `script`, and its part."""
        text = text.strip("\n")
        if self.group.shell or "\n" in text.strip():
            return "script", self._text(where, text + "\n")
        try:
            words = compile_words(text, self.names)
        except InputError as error:
            raise InputError(f"{self.where}: {where}: {error}") from None
        if not words:
            raise InputError(f"{self.where}: {where}: there is no command")
        if not any(word.names for word in words):
            return "command", _fixed(tuple([word.text for word in words]))
        return "command", _together(tuple, [self._filled(where, word) for word in words])

    def _text(self, where: str, text: str) -> _Part:
        return self._filled(where, compile_template(str(text), self.names))

    def _filled(self, where: str, template: Template) -> _Part:
        if not template.names:
            return _fixed(template.text)
        return _Part(template.names, self._placed(where, template.fill))

    def _scalar(self, where: str, given: Any) -> _Part:
        """A value that keeps its type where it is one placeholder and nothing else; what is not text stays."""
        if not isinstance(given, str):
            return _fixed(given)
        template = compile_template(given, self.names)
        return _Part(template.names, self._placed(where, template.value))

    def _mapping(self, where: str, given: Mapping[str, Any], leaf: Callable[[str, Any], _Part]) -> _Part:
        keys = tuple(given)
        parts = [leaf(f"{where}.{key}", value) for key, value in given.items()]
        return _together(lambda values: dict(zip(keys, values, strict=True)), parts)

    def _input(self, index: int, item: FileInput) -> _Part:
        where, directory = f"inputs[{index}]", self.renderer.directory

        def staged(values: Iterable[str]) -> FileInput:
            to, path, *text = values
            path = os.path.join(directory, path) if path else ""
            return FileInput(to or os.path.basename(path), path, text[0] if text else None)

        texts = [item.to, item.path, *([] if item.text is None else [item.text])]
        return _together(staged, [self._text(where, text) for text in texts])

    def _output(self, name: str, rule: OutputRule) -> _Part:
        def read(values: Iterable[str]) -> OutputSpec:
            (source,) = values
            return OutputSpec(name, source, rule.pattern, rule.pointer, rule.function, rule.take, rule.required)

        return _together(read, [self._text(f"outputs.{name}.from", rule.source)])

    def _resources(self) -> _Part:
        group = self.group

        def needed(values: Iterable[int]) -> Resources:
            nodes, tasks, cores, gpus = values
            return Resources(nodes, max(tasks, nodes), cores, gpus, group.exclusive, group.binding)

        wanted = (
            ("nodes", group.nodes, 0),
            ("tasks", group.tasks, 1),
            ("cores", group.cores, 1),
            ("gpus", group.gpus, 0),
        )
        return _together(needed, [self._count(where, given, least) for where, given, least in wanted])

    def _count(self, where: str, given: int | str, least: int) -> _Part:
        scalar = self._scalar(where, given)

        def count(values: Values) -> int:
            value = scalar.make(values)
            try:
                return _whole(_number(value) if isinstance(value, str) else value, least)
            except InputError as error:
                raise type(error)(f"{self._blamed(where, given, scalar, values)}{error}") from None

        return _Part(scalar.names, count)

    def _walltime(self, given: float | str) -> _Part:
        scalar = self._scalar("walltime", given)

        def seconds(values: Values) -> float:
            try:
                return parse_duration(scalar.make(values))
            except InputError as error:
                raise type(error)(f"{self._blamed('walltime', given, scalar, values)}{error}") from None

        return _Part(scalar.names, seconds)

    def _blamed(self, where: str, given: object, part: _Part, values: Values) -> str:
        """The beginning of a message: the place, and for a text with placeholders what it says and of what values."""
        place = f"{self.where}: {where}: "
        if not part.names:
            return place
        return f"{place}{given!r} with {', '.join(f'{name} = {values.get(name)}' for name in part.names)}: "

    def _placed(self, where: str, make: Callable[[Values], Any]) -> Callable[[Values], Any]:
        place = f"{self.where}: {where}"

        def made(values: Values) -> Any:
            try:
                return make(values)
            except ExpressionError as error:
                raise ExpressionError(f"{place}: {error}") from None

        return made


class _Plan:
    """The fields of a description by what they depend on: on nothing, on the point, or on the job."""

    def __init__(self, parts: dict[str, _Part]) -> None:
        self.fixed = {field: part.make({}) for field, part in parts.items() if not part.names}
        self.of_point = tuple((field, part.make) for field, part in parts.items() if part.names and part.steady)
        self.of_job = tuple((field, part.make) for field, part in parts.items() if not part.steady)


def _fixed(value: Any) -> _Part:
    return _Part((), lambda _values: value)


def _together(join: Callable[[Iterable[Any]], Any], parts: list[_Part]) -> _Part:
    """One part of several: `join` gets their values in order."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    if not names:
        value = join([part.make({}) for part in parts])
        return _fixed(value)
    makers = [part.make for part in parts]
    return _Part(names, lambda values: join([make(values) for make in makers]))


def _number(text: str) -> float | None:
    """What is left of `{N} * 32` once the placeholders are filled."""
    expr = parse(text)
    if names(expr):
        raise InputError(f"{text!r} is not a number; write a placeholder in braces, such as '{{N * 32}}'")
    return constant(expr)


def _whole(value: Scalar | None, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        shown = "unknown" if value is None else str(value).lower() if isinstance(value, bool) else value
        raise InputError(f"a whole number is needed, not {shown}")
    if not least <= value <= LARGEST_COUNT:
        raise InputError(f"{value} is {'less than ' + str(least) if value < least else f'more than {LARGEST_COUNT:,}'}")
    return int(value)


class _Point:
    """An entry with the values of one point: the fields its jobs share, and how the others are made for each."""

    def __init__(self, entry: _Entry, values: Values) -> None:
        renderer, group = entry.renderer, entry.group
        self.known: dict[str, Scalar] = {**values, "run": renderer.run_dir}
        self.run, self.seed, self.used = renderer.run, renderer.seed, entry.used
        self.run_dir = renderer.run_dir
        self.jobs_dir = f"{renderer.run_dir}/jobs/"
        self.shared: dict[str, Any] = {"group": group.name, "launcher": group.launcher, "keep": group.keep}
        self.shared["point"] = values if isinstance(values, dict) else dict(values)
        self.first = self._fill(entry.first_plan)
        self.later = self.first if entry.later_plan is entry.first_plan else self._fill(entry.later_plan)
        self.told = {
            "ENSEMBLE_RUN": renderer.run,
            "ENSEMBLE_RUN_DIR": renderer.run_dir,
            "ENSEMBLE_GROUP": group.name,
        }

    def _fill(self, plan: _Plan) -> tuple[dict[str, Any], tuple[tuple[str, Callable[[Values], Any]], ...]]:
        """The fields that all jobs of the point share, made now, and the makers of the rest."""
        return {**self.shared, **plan.fixed, **{field: make(self.known) for field, make in plan.of_point}}, plan.of_job

    def job(self, key: str, attempt: int, avoid: tuple[str, ...], parent: str) -> JobSpec:
        """Describe one attempt of one job of this point."""
        shared, rest = self.first if attempt == 1 else self.later
        fields = dict(shared)
        if rest:
            values = {**self.known, "key": key, "attempt": attempt}
            if "seed" in self.used:
                values["seed"] = job_seed(self.seed, key)
            if "parent" in self.used:
                values.setdefault("parent", os.path.join(self.run_dir, parent))
            for field, make in rest:
                fields[field] = make(values)
        number = str(attempt)
        fields["env"] = {**fields.get("env", {}), **self.told, "ENSEMBLE_KEY": key, "ENSEMBLE_ATTEMPT": number}
        # Each attempt has its own output, so that the story of a retried job can be read.
        suffix = "" if attempt == 1 else f".{number}"
        place = f"{self.jobs_dir}{key}/"
        return JobSpec(
            AttemptRef(self.run, key, attempt),
            stdout=f"{place}stdout{suffix}",
            stderr=f"{place}stderr{suffix}",
            avoid=avoid,
            **fields,
        )
