"""Numbers, tables and statuses as text."""

from __future__ import annotations

__all__ = [
    "closing",
    "explanation",
    "failure",
    "finished",
    "fired_rules",
    "money",
    "number",
    "progress",
    "seconds",
    "table",
    "waits",
]

from collections.abc import Mapping, Sequence
from typing import Final

from ensemble.engine import CellStatus, RuleExplanation, Status, times
from ensemble.model.jobs import OUTCOMES
from ensemble.model.wording import counted

_NOTES = {
    "limit": "a limit was reached",
    "output-missing": "an output did not match",
    "illegal-transition": "an event that cannot be was ignored",
    "unknown-job": "an event or request named no job",
    "function-raised": "a custom function raised an exception",
    "function-hung": "a custom function took too long and was ended",
    "function-died": "a custom function ended its process",
    "function-nonsense": "a custom function returned nonsense",
    "unsupported-action": "an action that the member cannot do was left out",
    "duplicate": "a second start of an attempt was prevented",
    "no-member": "no member was left to run jobs",
    "never-fits": "jobs fit no member",
    "resize-failed": "a resize failed",
    "resize-bound": "a resize was asked beyond the member's bounds",
    "bad-point": "a new point could not be used",
}


def number(value: float | None) -> str:
    """A figure in at most six significant digits; a dash where it is unknown."""
    return "-" if value is None else f"{value:.6g}"


def seconds(value: float | None) -> str:
    """A duration as a person would say it."""
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.2f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def money(value: float, currency: str = "") -> str:
    """An amount with its currency: `1.25 USD`."""
    return f"{number(value)} {currency}".rstrip()


def failure(reason: str, exit_code: int = -1, signal: int = 0) -> str:
    """Why an attempt failed, in words: `exit code 1`, `signal 11`, `walltime`."""
    if reason == "exit" and exit_code >= 0:
        return f"exit code {exit_code}"
    if reason == "signal" and signal:
        return f"signal {signal}"
    return reason


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    right = [all(_numeric(row[column]) for row in rows) and bool(rows) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), *(line(row) for row in rows)])


def _numeric(text: str) -> bool:
    return text == "" or text[0].isdigit() or text[0] in "-+."


def finished(cell: CellStatus) -> int:
    """How many jobs of a group or point have ended, however they did."""
    return cell.success + cell.failed + cell.cancelled + cell.lost


def point_label(row: Mapping[str, object]) -> str:
    """The name of a point of `results`: its group and the values of its axes."""
    names = list(row)
    axes = ", ".join(f"{name}={row[name]}" for name in names[1 : names.index("jobs")])
    return f"{row['group']} [{axes}]" if axes else str(row["group"])


def _label(cell: CellStatus) -> str:
    values = ", ".join(f"{axis}={value}" for axis, value in cell.values.items())
    label = f" ({cell.label})" if cell.label else ""
    return f"{cell.group} [{values}]{label}" if values else cell.group + label


_COUNTS: Final = {"waiting": "pending", "running": "running", **{name: name for name in OUTCOMES}}
"""Columns of counts and their fields; all but `success` are left out where they hold nothing but zeros."""


def closing(status: Status, warnings: Sequence[str] = ()) -> str:
    """The table at the end of a run, with everything a person should know before looking further."""
    cost = f", {money(status.cost, status.currency)} spent" if status.cost else ""
    lines = [
        *_cells(status),
        "",
        *_failures(status),
        *filter(None, [fired_rules(status, SHOWN, f" (`ensemble explain {status.run}`)")]),
        *_notes(status),
        *(f"warning: {warning}" for warning in warnings),
        *waits(status),
        f"{status.run}: {_verdict(status)} in {seconds(status.elapsed)}, {number(status.node_hours)} node-hours{cost}",
    ]
    return "\n".join(lines)


MOST_POINTS: Final = 40
"""Points that have a line each; of more there are only the groups."""


def _cells(status: Status) -> list[str]:
    """The table: a line for each point, or for each group where it has one point or all have too many."""
    points = status.points if len(status.points) <= MOST_POINTS else ()
    split = {point.group for point in points}
    order = {cell.group: place for place, cell in enumerate(status.groups)}
    cells = sorted(
        [*(cell for cell in status.groups if cell.group not in split), *points], key=lambda cell: order[cell.group]
    )
    named = dict.fromkeys(name for cell in cells for name in cell.quantities)
    figures = [name for name in named if name not in ("node_hours", "cost", "duration")]
    derived = list(dict.fromkeys(name for cell in cells for name in cell.derived))
    counts = [
        (name, field)
        for name, field in _COUNTS.items()
        if name == "success" or any(getattr(cell, field) for cell in cells)
    ]
    header = ["group", "jobs", *(name for name, _ in counts), "duration", *figures, *derived]
    rows = [
        [
            _label(cell),
            str(cell.submitted),
            *(str(getattr(cell, field)) for _, field in counts),
            _summary(cell, "duration", " s"),
            *(_summary(cell, name) for name in figures),
            *(number(cell.derived.get(name)) for name in derived),
        ]
        for cell in cells
    ]
    lines = [table(header, rows)]
    if any("±" in text for row in rows for text in row):
        lines.append("± is the 95 % confidence interval of the mean.")
    return lines


def fired_rules(status: Status, most: int, rest: str = "") -> str:
    """Which rules have fired and how often, `most` of them by name; `rest`: where the others are. Empty when none."""
    fired = [rule for rule in status.rules if rule.fired]
    named = [f"{rule.id} {times(rule.fired)}" for rule in fired[:most]]
    if len(fired) > most:
        named.append(f"and {counted(len(fired) - most, 'more rule')}{rest}")
    return f"rules fired: {', '.join(named)}" if fired else ""


def _notes(status: Status) -> list[str]:
    notes = [
        _NOTES.get(name, name) + (f" ({times(count)})" if count > 1 else "") for name, count in status.notes.items()
    ]
    again = status.total.failed_attempts - status.total.failed - status.total.lost
    if again > 0:
        notes.append(f"{counted(again, 'failed attempt')} {'was' if again == 1 else 'were'} tried again")
    if outside := sum(status.cancelled_outside.values()):
        notes.append(f"{counted(outside, 'job')} cancelled from outside this run{_by(status.cancelled_outside)}")
    return [f"note: {note}" for note in notes]


def waits(status: Status) -> list[str]:
    """Why jobs wait in the queues of members, in the queues' own words: one line for each member that has any.

    There are none once the run is over, whatever its members said last.
    """
    if status.outcome:
        return []
    waiting = {member.name: member.waiting for member in status.members if any(member.waiting.values())}
    lines = []
    for name, reasons in waiting.items():
        jobs = counted(sum(reasons.values()), "job") + (" waits" if sum(reasons.values()) == 1 else " wait")
        where = f" at {name}" if len(status.members) > 1 else ""
        lines.append(f"{jobs}{where}: {_grouped(reasons)}")
    return lines


def _by(reasons: Mapping[str, int]) -> str:
    return f": {_grouped(reasons)}" if any(reasons) else ""


def _grouped(reasons: Mapping[str, int]) -> str:
    """Reasons, the most frequent first, each with its number of jobs."""
    order = sorted(((count, reason) for reason, count in reasons.items() if count), key=lambda one: (-one[0], one[1]))
    shown = [f"{reason or 'no reason given'} ({count:,})" for count, reason in order[:_REASONS]]
    if rest := order[_REASONS:]:
        shown.append(f"{counted(len(rest), 'other reason')} ({sum(count for count, _ in rest):,})")
    return ", ".join(shown)


SHOWN_FAILURES: Final = 10
"""Kinds of failure that have a line each."""


def _failures(status: Status) -> list[str]:
    """A line for each reason for which jobs failed, with the command that shows what the first of them wrote."""
    lines = []
    for one in status.failures[:SHOWN_FAILURES]:
        why = failure(one.reason, one.exit_code, one.signal) + (f" ({one.text})" if one.text else "")
        first = "The first was" if one.count > 1 else "It was"
        attempt = f" --attempt {one.attempt}" if one.attempt > 1 else ""
        look = f"; see `ensemble logs {status.run} {one.example}{attempt}`" if one.attempt else ""
        lines.append(f"{counted(one.count, 'job')} of {one.group} failed: {why}. {first} {one.example}{look}.")
    if len(status.failures) > SHOWN_FAILURES:
        rest = status.failures[SHOWN_FAILURES:]
        jobs = counted(sum(one.count for one in rest), "more job")
        lines.append(f"{jobs} failed for {counted(len(rest), 'other reason')}")
    return lines


def _verdict(status: Status) -> str:
    if not status.outcome:
        total = status.total
        return f"{status.state or 'not over'} ({total.running:,} running, {total.pending:,} waiting)"
    return f"{status.outcome} ({status.reason})" if status.reason else status.outcome


def _summary(cell: CellStatus, name: str, unit: str = "") -> str:
    found = cell.quantities.get(name)
    if found is None or found.mean is None:
        return "-"
    spread = f" ± {found.ci95:.2g}" if found.ci95 is not None else ""
    return f"{found.mean:.4g}{spread}{unit}"


def progress(status: Status) -> str:
    """One line on how a run stands."""
    groups = ", ".join(
        f"{cell.group} {finished(cell)}/{cell.submitted}"
        + (f" ({cell.running} running)" if cell.running else "")
        + (f" ({cell.failed} failed)" if cell.failed else "")
        for cell in status.groups
        if cell.submitted
    )
    fired = f"; {counted(status.firings, 'rule firing')}" if status.firings else ""
    line = f"{seconds(status.elapsed)}: {groups or 'no jobs yet'}{fired}"
    return "; ".join([line, *waits(status)])


_REASONS = 5
"""Reasons for which jobs wait that are shown each by itself."""
SHOWN = 10
"""Of a long history, the lines at its beginning and at its end that are shown."""


def explanation(
    rules: Sequence[RuleExplanation], firings: Mapping[str, Sequence[str]], status: Status | None = None
) -> str:
    """Why each rule fired, and what it waits for; `firings` are lines on when and why, by rule.

    With `status`, why jobs wait in the members' queues is added.
    """
    blocks = []
    for rule in rules:
        when = f" when {rule.condition}" if rule.condition else ""
        fired = f"fired {times(rule.fired)}" if rule.fired else "never fired"
        lines = [f"{rule.id}: on {rule.trigger}{when} -> {rule.action} ({fired})"]
        told = list(firings.get(rule.id, ()))
        if len(told) > 2 * SHOWN + 1:
            left_out = f"... {len(told) - 2 * SHOWN} more, all in `--output json` ..."
            told = [*told[:SHOWN], left_out, *told[-SHOWN:]]
        lines += [f"  {line}" for line in told]
        for part in rule.parts:
            holds = {True: "holds", False: "does not hold", None: "is unknown"}[part.holds]
            lines.append(f"  now {part.text}: {holds}")
        lines.append(f"  {rule.waits_for}")
        blocks.append("\n".join(lines))
    blocks = blocks or ["this ensemble has no rules"]
    return "\n\n".join([*blocks, *(waits(status) if status is not None else ())])
