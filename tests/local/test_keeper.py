"""What the keeper does with its queue, without its loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.members.local.prepare import Waiting
from ensemble.members.local.slots import Slots
from ensemble.members.local.starts import Starts
from ensemble.model.events import JobEvent
from ensemble.model.jobs import AttemptRef, JobSpec


class Ends:
    """What was recorded."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], JobEvent | None] = {}
        self.recorded: list[tuple[str, str]] = []

    def record(self, spec: JobSpec, event: JobEvent) -> None:
        self.recorded.append((spec.ref.key, event.outcome))


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def starts(tmp_path: Path, ends: Ends) -> Starts:
    made = Starts(str(tmp_path), "m", None, ends, print, print)  # type: ignore[arg-type]
    made.slots, made.most_nodes = Slots(1, 1, 0), 1
    for number in range(100):
        made.submit(JobSpec(AttemptRef("r", f"a-{number}"), "a", "/", ("true",)))
    return made


def test_a_cancel_looks_at_the_jobs_it_names_and_at_no_other(
    starts: Starts, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    ref = Waiting.ref.fget
    assert ref is not None
    monkeypatch.setattr(Waiting, "ref", property(lambda self: looked.append(self.spec.ref.key) or ref(self)))
    for number in (70, 3, 98):
        starts.cancel((f"a-{number}", 1))
    assert ends.recorded == [("a-70", "cancelled"), ("a-3", "cancelled"), ("a-98", "cancelled")]
    assert len(looked) <= 3, "10,000 such cancels of 10,000 jobs took half a minute"


def test_what_is_cancelled_twice_or_unknown_or_another_attempt_changes_nothing(starts: Starts, ends: Ends) -> None:
    for ref in (("a-1", 1), ("a-1", 1), ("a-2", 2), ("b-1", 1)):
        starts.cancel(ref)
    assert ends.recorded == [("a-1", "cancelled")]
    assert [key for key, _ in starts.queue][:3] == ["a-0", "a-2", "a-3"], "the others keep their order"
