"""What was asked of members and has not been answered, and which rule waits for it."""

from __future__ import annotations

from ensemble.engine.impact import Impact
from ensemble.engine.rules import park, unpark
from ensemble.engine.state import State
from ensemble.model.decisions import Call, Resize


class Commands:
    """Opens and closes commands. A rule whose command is open is not considered."""

    __slots__ = ("impact", "state")

    def __init__(self, state: State, impact: Impact) -> None:
        self.state = state
        self.impact = impact

    def bind(self, rule: str, command: int) -> None:
        """A rule waits for a command of its action."""
        self.state.calls[command] = rule
        self.state.rules[rule].open += 1
        park(self.state.rules[rule])

    def open(self, command: Resize) -> None:
        """An answer is awaited."""
        self.state.commands[command.id] = command
        self.state.next_command = command.id + 1

    def close(self, command: int) -> bool:
        """An answer came: whether it was still awaited."""
        if self.state.commands.pop(command, None) is None:
            return False
        self.release(command)
        return True

    def release(self, command: int) -> None:
        """The rule that waited for a command may be considered again."""
        state = self.state
        rule = state.rules.get(state.calls.pop(command, ""))
        if rule is not None:
            rule.open -= 1
            unpark(rule)

    def close_all_of(self, member: str) -> None:
        """No answer will come from a member any more."""
        state = self.state
        for command in [one for one in state.commands.values() if not isinstance(one, Call) and one.member == member]:
            self.close(command.id)
