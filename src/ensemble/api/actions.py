"""What rules do, as plain data in the file's words; a rule's function returns them.

Nothing happens when one is made: it happens when a rule fires with it, or when `Run.act` asks for it.
"""

from __future__ import annotations

__all__ = [
    "Action",
    "Rule",
    "add_rule",
    "avoid",
    "cancel",
    "grow",
    "scale",
    "shrink",
    "stop",
    "stop_member",
    "submit",
    "switch_algorithm",
    "terminate",
]

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ensemble.functions.shapes import Action, Rule

if TYPE_CHECKING:
    from ensemble.api.building import Group


def submit(group: str | Group, value: int | None = None, parameters: Mapping[str, Any] | None = None) -> Action:
    """Submit `value` jobs per point of a group (left out: its `count`); `parameters` name new points."""
    return _action("submit", label=str(group), value=value, parameters=dict(parameters) if parameters else None)


def cancel(group: str | Group, states: Iterable[str] = ()) -> Action:
    """Cancel the jobs of a group; only those in `states` (such as `run`), if any are named."""
    return _action("cancel", label=str(group), states=list(states) or None)


def grow(value: int = 1, member: str = "") -> Action:
    """Ask a member for `value` more nodes."""
    return _action("grow", value=value, member=member or None)


def shrink(value: int = 1, member: str = "") -> Action:
    """Return `value` nodes of a member as they become free."""
    return _action("shrink", value=value, member=member or None)


def scale(value: int, member: str = "") -> Action:
    """Bring a member to `value` instances."""
    return _action("scale", value=value, member=member or None)


def avoid(host: str = "") -> Action:
    """Send no more jobs to a host (left out: that of the event's job)."""
    return _action("avoid", host=host or None)


def stop() -> Action:
    """Let the running jobs finish, then end the run."""
    return _action("stop")


def terminate() -> Action:
    """Cancel the running jobs, then end the run."""
    return _action("terminate")


def stop_member(member: str) -> Action:
    """Close a member."""
    return _action("stop-member", member=member)


def add_rule(rule: Mapping[str, Any]) -> Action:
    """Add a rule, written as in the file."""
    return _action("add-rule", rule=dict(rule))


def switch_algorithm(name: str, **options: Any) -> Action:
    """Replace the present algorithm by another."""
    return _action("switch-algorithm", label=name, options=options or None)


def _action(name: str, **keys: Any) -> Action:
    return Action({"name": name, **{key: value for key, value in keys.items() if value is not None}})
