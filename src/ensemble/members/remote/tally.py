"""Nodes and queue of a member as its own events tell them, for `Status`."""

from __future__ import annotations

__all__ = ["Tally"]

from ensemble.members.contract import Hello
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import FINISHED
from ensemble.session.convert import queue_to_message
from ensemble.session.v1 import model_pb2 as model


class Tally:
    """Counts jobs per state; what the queue itself says about its counts goes first."""

    def __init__(self) -> None:
        self._nodes = model.NodeCounts()
        self._states: dict[tuple[str, int], str] = {}
        self._ended = 0
        self._queue: dict[str, int] | None = None

    def hello(self, hello: Hello) -> None:
        """A member was opened."""
        self._sizes(hello)

    def note(self, event: JobEvent | NativeEvent | MemberEvent) -> None:
        """Take an event into account."""
        if isinstance(event, JobEvent):
            ref = (event.key, event.attempt)
            if event.state == FINISHED:
                self._states.pop(ref, None)
                self._ended += 1
            else:
                self._states[ref] = event.state
        elif isinstance(event, MemberEvent):
            if event.nodes_up >= 0:
                self._sizes(event)
            if event.queue is not None:
                self._queue = event.queue

    def _sizes(self, source: Hello | MemberEvent) -> None:
        nodes = self._nodes
        nodes.node_cores_free = max(0, source.cores_free)
        nodes.node_cores_up = max(0, source.cores_up)
        nodes.node_up_count = max(0, source.nodes_up)
        nodes.node_free_count = max(0, source.nodes_free)

    @property
    def nodes(self) -> model.NodeCounts:
        """Nodes and cores."""
        return self._nodes

    def queue(self) -> model.QueueCounts:
        """Jobs per state."""
        if self._queue is not None:
            return queue_to_message(self._queue)
        counts: dict[str, int] = {"inactive": self._ended}
        for state in self._states.values():
            # a job that is handed over and not yet looked at is new to the queue
            name = "new" if state == "submitted" else state
            counts[name] = counts.get(name, 0) + 1
        return queue_to_message(counts)
