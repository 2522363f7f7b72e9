"""Runs that released versions wrote: each is still read, carried out and decided the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.model.decisions import Call, Create, End, Firing, Note, Span, Upkeep
from ensemble.runtime.folding import fold
from ensemble.runtime.verify import decided, verify

RUNS = sorted((Path(__file__).parent / "golden").glob("runs-*/*"))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}/{run.name}")
def test_a_run_of_a_released_version_is_carried_out_with_every_invariant(run: Path) -> None:
    engine = fold(run).engine
    engine.check()
    assert engine.ended is not None


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}/{run.name}")
def test_a_run_of_a_released_version_is_decided_the_same_way(run: Path) -> None:
    assert verify(run).difference == ""


def test_words_that_only_explain_do_not_count_as_a_decision() -> None:
    def steps(word: str) -> tuple[Firing, Upkeep]:
        called = Firing("r", effects=(Call(1, "f", "r", {"now": word}), Note("limit", word)))
        return called, Upkeep((End("failed", word),), word)

    assert [decided(one) for one in steps("a")] == [decided(one) for one in steps("b")]


def test_everything_else_counts() -> None:
    one, other = (Upkeep((Create(Span("work", 0, 0, count)),)) for count in (1, 2))
    assert decided(one) != decided(other)
    assert decided(Upkeep((Note("a", ""),))) != decided(Upkeep((Note("b", ""),)))
