"""A simulation can be recorded like a run, take its durations from a run, and be compared with one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.simulation.world import checked, spec

from ensemble.journal import JournalWriter, read
from ensemble.model.decisions import Record
from ensemble.model.errors import InputError
from ensemble.model.events import JobEvent
from ensemble.runtime.verify import verify
from ensemble.simulation import Recording, simulate
from ensemble.simulation.compare import compare, recorded_figures
from ensemble.spec.model import EnsembleSpec


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was recorded: itself a simulation, which `verify` cannot tell from a real one."""
    path = tmp_path_factory.mktemp("runs") / "truth-1"
    text = """
    jobs:
      - name: melt
        command: lmp
        parameters: {T: [1.0, 2.0]}
        count: 400
        submit: start
        outputs: {pressure: '^P (.*)'}
        simulate:
          duration: {distribution: gamma, mean: 10 * T, cv: 0.3}
          figures: {pressure: {distribution: normal, mean: 5 * T, std: 0.5}}
          failure_rate: {signal: 0.1}
    """
    simulate(spec(text, cores=16), seed=9, record=path)
    return path


def test_a_recorded_simulation_is_a_run_that_verifies(run_dir: Path) -> None:
    verification = verify(run_dir)
    assert verification.difference == ""
    assert verification.records > 1600
    with pytest.raises(Exception, match="truth-1"):
        JournalWriter.create(run_dir, "again")


def test_a_run_compared_with_itself_is_equal_in_every_row(run_dir: Path) -> None:
    records = list(read(run_dir))
    spec_data = records[0].event.spec  # type: ignore[union-attr]
    again = checked(msgspec.convert(spec_data, EnsembleSpec), seed=9)
    rows = compare(again, records)
    assert len(rows) > 20
    assert {row.ratio for row in rows} == {1.0}
    assert all(row.inside for row in rows)


def test_a_model_from_a_recorded_run_gives_what_was_recorded_within_its_interval(run_dir: Path) -> None:
    records = list(read(run_dir))
    text = """
    jobs:
      - name: melt
        command: lmp
        parameters: {T: [1.0, 2.0]}
        count: 400
        submit: start
        outputs: {pressure: '^P (.*)'}
    """
    result = checked(spec(text, cores=16), seed=100, repeat=10, recorded=Recording(records))
    assert result.assumed == ("group melt: durations from 400 recorded attempts",)
    rows = {row.quantity: row for row in compare(result, records)}
    for quantity in (
        "makespan",
        "mean.melt[T=1.0].duration",
        "mean.melt[T=2.0].duration",
        "std.melt[T=2.0].duration",
        "mean.melt[T=2.0].pressure",
        "count.melt[T=1.0].failed",
    ):
        assert rows[quantity].ratio == pytest.approx(1.0, rel=0.1), quantity


def test_a_file_may_name_the_run_its_durations_come_from(run_dir: Path) -> None:
    text = "jobs: [{name: melt, command: lmp, parameters: {T: [%s]}, count: 50, simulate: {duration: {recorded: %s}}}]"
    recorded = {sample.duration for sample in Recording(read(run_dir)).find("melt", {"T": 2.0}).samples}  # type: ignore[union-attr]
    taken: list[float] = []
    starts: dict[str, float] = {}

    def observe(record: Record) -> None:
        event = record.event
        if isinstance(event, JobEvent) and event.state == "run":
            starts[event.key] = event.time
        elif isinstance(event, JobEvent) and event.outcome == "success":
            taken.append(event.time - starts[event.key])

    simulate(spec(text % ("2.0", run_dir)), observers=[observe])
    assert taken
    assert all(any(abs(value - known) < 1e-6 for known in recorded) for value in taken)
    with pytest.raises(InputError) as error:
        simulate(spec(text % ("3.0", run_dir)))
    assert "has no jobs with T = 3.0 that have ended" in str(error.value)


def test_figures_of_a_run_are_those_its_engine_had(run_dir: Path) -> None:
    figures = recorded_figures(read(run_dir))
    assert figures.counts["submitted"] == 800
    assert figures.outcome == "failed"
    assert figures.utilisation == -1.0


def test_records_without_a_beginning_are_refused(run_dir: Path) -> None:
    with pytest.raises(InputError):
        recorded_figures([])
    with pytest.raises(InputError):
        recorded_figures(list(read(run_dir))[1:])
