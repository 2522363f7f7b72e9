"""A function rule is called for every event that its trigger names, in order, and its failure is the run's."""

import asyncio
import json
from pathlib import Path

import pytest

from ensemble.journal import read
from ensemble.model.events import FunctionReturned, JobEvent
from ensemble.runtime import RunOptions, run, verify
from ensemble.spec.loader import loads


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLE_HOME", str(tmp_path / "home"))


class Calls:
    """One run of an ensemble whose function `note` writes down each job that it is called for."""

    def __init__(self, folder: Path, jobs: str, rule: str, code: str = "") -> None:
        self.ledger = folder / "ledger"
        self.ledger.touch()
        note = f"def note(event):\n    open({str(self.ledger)!r}, 'a').write(event.get('key', '-') + '\\n')\n"
        text = json.dumps(note + code)
        spec = loads(f"jobs: [{jobs}]\nrules: [{rule}]\ncustom: {text}\n", directory=str(folder))
        self.run_dir = folder / "run"
        self.result = asyncio.run(run(spec, RunOptions(run_dir=str(self.run_dir), signals=False)))
        assert not verify(self.run_dir).difference

    def called(self) -> list[str]:
        return self.ledger.read_text().split()

    def ended(self) -> list[str]:
        events = [record.event for record in read(self.run_dir)]
        return [event.key for event in events if isinstance(event, JobEvent) and event.state == "inactive"]


RULE = "{trigger: job-success, name: a, action: {name: custom, label: note, repetitions: unlimited}}"


@pytest.mark.parametrize(("jobs", "command"), [(20, "'true'"), (2000, "'true'"), (60, "sleep 0.05")])
def test_a_function_is_called_once_for_each_event_in_their_order(tmp_path: Path, jobs: int, command: str) -> None:
    calls = Calls(tmp_path, f"{{name: a, command: {command}, count: {jobs}}}", RULE)
    assert len(calls.called()) == jobs
    assert calls.called() == calls.ended()
    assert calls.result.outcome == "success"


@pytest.mark.parametrize("way", ["1 / 0", "import os; os._exit(3)", "return 42"])
def test_a_function_that_fails_makes_the_run_fail(tmp_path: Path, way: str) -> None:
    code = f"def bad():\n    {way}\n"
    rule = "{trigger: job-success, name: a, action: {name: custom, label: bad}}"
    calls = Calls(tmp_path, "{name: a, command: 'true'}", rule, code)
    assert (calls.result.outcome, calls.result.exit_code) == ("failed", 1)
    assert "bad" in calls.result.reason


def test_a_call_adds_little_to_the_journal_however_many_points_there_are(tmp_path: Path) -> None:
    points = list(range(300))
    code = "def look(metrics):\n    assert metrics.get('count.a.submitted') == 300\n"
    rule = "{trigger: job-success, name: a, action: {name: custom, label: look, repetitions: unlimited}}"
    calls = Calls(tmp_path, f"{{name: a, command: 'true', parameters: {{x: {points}}}}}", rule, code)
    returned = sum(isinstance(record.event, FunctionReturned) for record in read(calls.run_dir))
    size = sum(path.stat().st_size for path in (calls.run_dir / "journal").glob("journal.*"))
    assert returned == 300
    assert size / returned <= 2048 + 1024, "2 KB a call beside what the job itself needs"
