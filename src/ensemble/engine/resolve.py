"""From a metric path to the value it names: a closure that reads it, and where it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ensemble.engine.rules import Reader
from ensemble.engine.state import Binding, Cell, Group, Member, State
from ensemble.metrics import Series
from ensemble.model.errors import ExpressionError
from ensemble.model.jobs import Scalar
from ensemble.spec.expressions import ALL_POINTS, MetricPath, compile_expr, parse, paths, resolve_old

if TYPE_CHECKING:
    from ensemble.engine.build import Builder

Home = tuple[Cell | Member, str]
"""Where a value lives: the object, and the name under which its changes are watched. Counts go by their own
name, series by `~quantity`."""


class Resolver:
    """Finds values by path."""

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder

    def value(
        self, path: MetricPath, binding: Mapping[str, Scalar], *, watched: bool = False
    ) -> tuple[str, Reader, list[Home]]:
        """Return the path's full text, its reader and its homes. `binding` are the axis values of a `for_each` rule.

        `watched`: a rule will read it again and again, so its slice of points gets a cell of its own; otherwise
        nothing in the state changes and the reader is good for the present moment only. Raises `ExpressionError`
        when the path names nothing.
        """
        path = resolve_old(path, tuple(self.state.groups))
        if path.statistic in ("nodes", "cores", "queue"):
            return self._member(path)
        if path.group == "*":
            if path.statistic != "count":
                raise ExpressionError(f"{path}: only counts exist over all groups")
            return str(path), _count(self.state.total, path.quantity), [(self.state.total, path.quantity)]
        group = self.state.groups.get(path.group)
        if group is None:
            raise ExpressionError(f"{path}: there is no group {path.group!r}")
        where = self._binding(path, group, binding)
        if path.statistic == "derived":
            return self._derived(path, group, where, watched)
        cell = self.builder.cell(group, where) if watched else self.builder.read_cell(group, where)
        text = _text(path, where)
        if path.statistic == "count" and hasattr(Cell, path.quantity) and path.quantity not in ("series", "waits"):
            return text, _count(cell, path.quantity), [(cell, path.quantity)]
        if path.quantity == "pending":
            return text, self._waiting(cell, path.statistic), [(cell, "~pending")]
        quantity, statistic = path.quantity, path.statistic
        return text, _series(cell, quantity, statistic), [(cell, "~" + quantity)]

    def _binding(self, path: MetricPath, group: Group, binding: Mapping[str, Scalar]) -> Binding:
        if path.point == ALL_POINTS:
            return ()
        chosen: Mapping[str, Scalar] = dict(path.point) if path.point else binding
        return tuple((axis, _same(group, axis, chosen[axis])) for axis in group.axes if axis in chosen)

    def _waiting(self, cell: Cell, statistic: str) -> Reader:
        state = self.state
        return lambda: cell.waits.stat(statistic, state.now)

    def _member(self, path: MetricPath) -> tuple[str, Reader, list[Home]]:
        name = path.group or next(iter(self.state.members))
        member = self.state.members.get(name)
        if member is None:
            raise ExpressionError(f"{path}: there is no member {name!r}")
        field = f"{path.statistic}_{path.quantity}"
        if path.statistic == "queue":
            queue = member.queue
            state = path.quantity
            return str(path), lambda: float(queue[state]) if state in queue else None, [(member, field)]
        return str(path), _known(member, field), [(member, field)]

    def _derived(self, path: MetricPath, group: Group, where: Binding, watched: bool) -> tuple[str, Reader, list[Home]]:
        for template in self.builder.plan.templates[group.name]:
            if path.quantity in template.derived:
                break
        else:
            raise ExpressionError(f"{path}: group {group.name} has no derived value {path.quantity!r}")
        expr = parse(template.derived[path.quantity])
        binding = dict(where)
        homes: list[Home] = []
        for inner in paths(expr):
            homes += self.value(inner, binding, watched=watched)[2]

        def name(word: str) -> Reader:
            value = binding.get(word)
            number = float(value) if isinstance(value, (int, float)) else None
            return lambda: number

        read = compile_expr(expr, lambda inner: self.value(inner, binding, watched=watched)[1], name)
        return _text(path, where), _number(read), homes


def _same(group: Group, axis: str, value: Scalar) -> Scalar:
    """The axis value as the points spell it (`1` and `1.0` name the same point)."""
    points = group.by_value.get((axis, value))
    return points[0].values[axis] if points else value


def _text(path: MetricPath, where: Binding) -> str:
    inside = ",".join(f"{axis}={value}" for axis, value in where)
    group = f"{path.group}[{inside}]" if inside else path.group
    return f"{path.statistic}.{group}.{path.quantity}"


_NOTHING: Final = Series()


def _series(cell: Cell, quantity: str, statistic: str) -> Reader:
    known = cell.series

    def read() -> float | None:
        # reading makes no series: a replay does not read, and must come to the same state
        return known.get(quantity, _NOTHING).stat(statistic)

    return read


def _count(cell: Cell, field: str) -> Reader:
    def read() -> float | None:
        value: int = getattr(cell, field)
        return value

    return read


def _known(member: Member, field: str) -> Reader:
    def read() -> float | None:
        value: int = getattr(member, field)
        return float(value) if value >= 0 else None

    return read


def _number(read: Callable[[], float | bool | None]) -> Reader:
    def number() -> float | None:
        value = read()
        return None if value is None else float(value)

    return number
