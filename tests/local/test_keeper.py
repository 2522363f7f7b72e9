"""What the keeper does with its queue, without its loop."""

import pytest

from ensemble.members.local.keeper import Keeper
from ensemble.members.local.prepare import Waiting
from ensemble.members.local.slots import Slots
from ensemble.model.jobs import AttemptRef, JobSpec


@pytest.fixture
def keeper(tmp_path):
    made = Keeper(str(tmp_path), "m", "m@1-s")
    made.slots = Slots(1, 1, 0)
    made.most_nodes = 1
    made.told = []
    made._ended = lambda spec, event, job=None: made.told.append((spec.ref.key, event.outcome))
    jobs = [JobSpec(AttemptRef("r", f"a-{number}"), "a", "/", ("true",)) for number in range(100)]
    made._submit(["submit", 1, jobs])
    return made


def test_a_cancel_looks_at_the_jobs_it_names_and_at_no_other(keeper, monkeypatch):
    looked = []
    ref = Waiting.ref.fget
    monkeypatch.setattr(Waiting, "ref", property(lambda self: looked.append(self.spec.ref.key) or ref(self)))
    for number in (70, 3, 98):
        keeper._cancel(["cancel", 2, [[f"a-{number}", 1]], 5.0])
    assert keeper.told == [("a-70", "cancelled"), ("a-3", "cancelled"), ("a-98", "cancelled")]
    assert len(looked) <= 3, "10,000 such cancels of 10,000 jobs took half a minute"


def test_what_is_cancelled_twice_or_unknown_or_another_attempt_changes_nothing(keeper):
    keeper._cancel(["cancel", 2, [["a-1", 1], ["a-1", 1], ["a-2", 2], ["b-1", 1]], 5.0])
    assert keeper.told == [("a-1", "cancelled")]
    assert [key for key, _ in keeper.queue][:3] == ["a-0", "a-2", "a-3"], "the others keep their order"
