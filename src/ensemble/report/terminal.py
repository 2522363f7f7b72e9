"""The live view of a run on a terminal: lines that scroll by, and below them how the run stands."""

from __future__ import annotations

__all__ = ["Screen", "standing"]

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ensemble.engine import CellStatus, Status
from ensemble.model.wording import counted
from ensemble.report.estimate import Rate, remaining
from ensemble.report.messages import Message
from ensemble.report.text import finished, fired_rules, money, number, seconds, waits
from ensemble.spec.model import LimitsSpec

SHOWN_GROUPS: Final = 10
"""Groups that have a bar each; of the others there is one line."""

SHOWN_RULES: Final = 6

PER_SECOND: Final = 4
"""How often the view is drawn."""

_STYLES: Final = {
    "run": "bold",
    "rule": "cyan",
    "failure": "red",
    "member": "blue",
    "note": "yellow",
    "request": "bold yellow",
    "job": "dim",
}

_FULL: Final = {True: "━", False: "#"}
_EMPTY: Final = {True: "─", False: "."}


class Screen:
    """Draws the view from a thread of its own, so that time goes on while nothing happens."""

    def __init__(
        self, status: Callable[[], Status], limits: Callable[[], LimitsSpec], console: Console | None = None
    ) -> None:
        """`status` is asked for how the run stands, with `lock` held, and `limits` for its ceilings."""
        self.lock = threading.Lock()
        self._status = status
        self._limits = limits
        self._console = console or Console(highlight=False, soft_wrap=False)
        self._rate = Rate()
        self._known: Status | None = None
        self._known_at = 0.0
        self._changed = False
        self._ask_at = 0.0
        self._live = Live(
            console=self._console,
            get_renderable=self._view,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Take the view away; the lines stay."""
        self._live.stop()

    def changed(self) -> None:
        """Note that the run's status is another one."""
        self._changed = True

    def print(self, messages: Sequence[Message]) -> None:
        """Add lines above the view."""
        for message in messages:
            self._console.print(Text(message.text, style=_STYLES.get(message.kind, "")), soft_wrap=True)

    def _view(self) -> RenderableType:
        now = monotonic()
        if (self._changed or self._known is None) and now >= self._ask_at:
            with self.lock:
                self._changed = False
                self._known = self._status()
            self._known_at = monotonic()
            # a run of many groups is looked at less often: at most a twentieth of the time goes into it
            self._ask_at = self._known_at + 20 * (self._known_at - now)
        if self._known is None:
            return Text("")
        total = self._known.total
        rate = self._rate.add(now, finished(total))
        plain = not self._console.encoding.lower().startswith("utf")
        return standing(
            self._known, self._limits(), self._console.width, since=now - self._known_at, rate=rate, ascii_only=plain
        )


def standing(
    status: Status,
    limits: LimitsSpec,
    width: int,
    *,
    since: float = 0.0,
    rate: float | None = None,
    ascii_only: bool = False,
) -> RenderableType:
    """How a run stands, for a terminal of `width` columns; `since`: seconds since that status was taken.

    A bar for each group, the rate in jobs per second, an estimate of the end, what is used of each limit, members with
    what their waiting jobs wait for, and the rules that have fired.
    """
    parts: list[RenderableType] = [_headline(status, since, rate), _groups(status, width, ascii_only)]
    shares = _shares(status, limits, since)
    if shares:
        parts.append(Text("limits: " + ", ".join(shares), style="yellow" if status.limit else ""))
    parts += [Text(line, style="yellow" if alarming else "") for line, alarming in _members(status)]
    if fired := fired_rules(status, SHOWN_RULES):
        parts.append(Text(fired, style="cyan"))
    for part in parts:
        if isinstance(part, Text):
            part.truncate(width, overflow="ellipsis")
    return Group(*parts)


def _headline(status: Status, since: float, rate: float | None) -> Text:
    text = Text(f"{status.run}  {seconds(status.elapsed + since)}", style="bold")
    left = remaining(status)
    if status.draining:
        text.append(f"  ending ({status.draining})", style="bold yellow")
    elif left is not None:
        text.append(f"  about {_about(max(0.0, left - since))} left", style="not bold green")
    if rate is not None:
        text.append(f"  {number(round(rate, 2))} jobs/s", style="not bold")
    return text


def _about(left: float) -> str:
    """A rough duration: nobody believes the hundredths of an estimate."""
    return seconds(left) if left >= 100 else f"{max(1, round(left))} s"


def _groups(status: Status, width: int, ascii_only: bool) -> Table:
    groups = [group for group in status.groups if group.submitted]
    open_first = sorted(groups, key=lambda group: not (group.pending or group.running))
    kept = {group.group for group in open_first[:SHOWN_GROUPS]}
    shown = [group for group in groups if group.group in kept]
    rest = [group for group in groups if group.group not in kept]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(max_width=24, no_wrap=True, overflow="ellipsis")
    grid.add_column(no_wrap=True)
    for _ in range(4):
        grid.add_column(justify="right", no_wrap=True)
    rows = [(group, _counts(group)) for group in shown]
    used = max((len(group.group) for group in shown), default=0)
    used = min(used, 24) + sum(max((len(row[i]) for _, row in rows), default=0) + 1 for i in range(4)) + 1
    bar = max(10, min(60, width - used - 1))
    for group, (done, running, waiting, failed) in rows:
        grid.add_row(
            group.group,
            _bar(group, bar, ascii_only),
            done,
            Text(running, style="green"),
            Text(waiting, style="dim"),
            Text(failed, style="red"),
        )
    if rest:
        ended, submitted = sum(map(finished, rest)), sum(group.submitted for group in rest)
        grid.add_row(counted(len(rest), "more group"), "", f"{ended:,}/{submitted:,}", "", "", "")
    return grid


def _counts(group: CellStatus) -> tuple[str, str, str, str]:
    bad = group.failed + group.lost
    return (
        f"{finished(group):,}/{group.submitted:,}",
        f"{group.running:,} running" if group.running else "",
        f"{group.pending:,} waiting" if group.pending else "",
        f"{bad:,} failed" if bad else "",
    )


def _bar(group: CellStatus, width: int, ascii_only: bool) -> Text:
    """Done, failed, running and waiting jobs as shares of a bar."""
    bad = group.failed + group.lost
    edges, upto = [], 0
    for share in (group.success + group.cancelled, bad, group.running):
        upto += share
        edges.append(round(width * upto / max(1, group.submitted)))
    if bad and edges[1] == edges[0]:
        # one failure in a million is seen all the same
        edges[0] -= edges[0] > 0
        edges[1] = max(edges[1], edges[0] + 1)
        edges[2] = max(edges[2], edges[1])
    full, empty = _FULL[not ascii_only], _EMPTY[not ascii_only]
    bar = Text(full * edges[0], style="green")
    bar.append(("!" if ascii_only else full) * (edges[1] - edges[0]), style="red")
    bar.append((">" if ascii_only else full) * (edges[2] - edges[1]), style="yellow")
    bar.append(empty * (width - edges[2]), style="dim")
    return bar


def _shares(status: Status, limits: LimitsSpec, since: float) -> list[str]:
    used = {
        "jobs": (float(status.total.submitted), float(limits.jobs)),
        "failures": (float(status.total.failed + status.total.lost), float(limits.failures)),
        "node-hours": (status.node_hours, limits.node_hours),
    }
    shares = [f"{name} {spent / limit:.0%} of {number(limit)}" for name, (spent, limit) in used.items() if limit]
    if limits.cost:
        shares.append(f"cost {status.cost / limits.cost:.0%} of {money(limits.cost, status.currency)}")
    if limits.walltime:
        shares.append(f"walltime {(status.elapsed + since) / limits.walltime:.0%} of {seconds(limits.walltime)}")
    return shares


def _members(status: Status) -> list[tuple[str, bool]]:
    """A line for each member that cannot be reached and for each whose queue says why jobs wait; whether it alarms."""
    away = [member for member in status.members if member.state in ("down", "gone")]
    lines = [(f"{one.name} is {one.state}{f': {one.text}' if one.text else ''}", True) for one in away]
    return lines + [(line, False) for line in waits(status)]
