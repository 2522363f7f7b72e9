"""The scripts that steer a run are killed with -9 and started again by the same line, and come to what they would."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


class Example:
    """A script of the examples, and the histories that its jobs write where they run."""

    def __init__(self, script: str, folder: Path) -> None:
        self.command = [sys.executable, str(EXAMPLES / script)]
        self.folder = folder
        self.jobs = folder / "runs" / Path(script).parent.name / "jobs"
        self.environment = {**os.environ, "ENSEMBLE_HOME": str(folder / "home")}

    def kill_at(self, jobs: int) -> None:
        process = subprocess.Popen(self.command, cwd=self.folder, env=self.environment, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 90
        while len(self.histories()) < jobs:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def finish(self) -> str:
        done = subprocess.run(
            self.command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=150
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def histories(self) -> list[list[str]]:
        return [path.read_text().splitlines() for path in self.jobs.glob("*/history")]


def test_optuna_asks_and_tells_and_prunes_across_a_kill(tmp_path: Path) -> None:
    example = Example("optuna/search.py", tmp_path)
    example.kill_at(12)
    out = example.finish()
    trials, pruned, jobs = map(int, re.match(r"(\d+) trials, (\d+) pruned, (\d+) jobs", out).groups())
    assert trials == 20
    assert 0 < pruned < 20
    assert jobs < 20 * 4
    assert len(example.histories()) == jobs
    for history in example.histories():
        epochs = [int(line.split()[0]) for line in history]
        assert epochs == list(range(len(epochs))), "an attempt ran twice"


def test_an_evolution_of_200_evaluations_goes_on_where_it_was(tmp_path: Path) -> None:
    example = Example("evolution/evolve.py", tmp_path)
    example.kill_at(40)
    example.kill_at(120)
    assert example.finish().startswith("200 evaluations;")
    histories = example.histories()
    assert len(histories) == 200
    assert all(len(history) == 1 for history in histories), "an evaluation ran twice"
    assert len({history[0] for history in histories}) == 200
