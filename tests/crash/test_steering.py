"""kill -9 of a script that steers a run: it is started again by the same line, goes on, and does nothing twice.

What happened is counted from ledgers: of jobs, one that the jobs write; of calls, one that the function writes.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.journal import read
from ensemble.model.events import JobEvent
from ensemble.runtime import verify

ASK_AND_TELL = """
    import random
    from ensemble import Ensemble

    study = Ensemble("search")
    work = study.group(
        "work",
        "echo $ENSEMBLE_KEY {x} >> {ledger}; sleep 0.05; echo f $(({x} * {x}))",
        shell=True,
        parameters={"x": []},
        outputs={"f": r"f (\\d+)"},
    )
    draw = random.Random(1)
    with study.start(name="search", resume=True) as run:
        run.submit(work, points=[{"x": 50}, {"x": -40}], key="first")
        asked = 2
        for job in run.completed():
            if asked < 40:
                x = run.best(work, "f").parameters["x"] + draw.randint(-9, 9)
                run.submit(work, points=[{"x": x}], key=f"evaluation {asked}")
                asked += 1
    print(run.outcome, len(run.results()), run.best(work, "f").figures["f"])
"""

CALLS = """
    import os
    from ensemble import Ensemble

    study = Ensemble("calls")
    work = study.group("work", "sleep 0.05", count=60)

    @study.rule("job-success", work, repetitions="unlimited")
    def note(job):
        with open("{ledger}", "a") as ledger:
            print(job.key, job.outcome, file=ledger)

    if __name__ == "__main__":
        with study.start(run_dir="runs/calls", resume=True) as run:
            pass
        print(run.outcome)
"""


class Script:
    """A script in a process of its own, and the ledger that it and its jobs write."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.path = folder / "study.py"
        self.path.write_text(textwrap.dedent(text).replace("{ledger}", str(self.ledger)))
        self.environment = {**os.environ, "ENSEMBLE_HOME": str(folder / "home")}

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(self.path)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def killed_at(self, lines: int, also: Callable[[], None] = lambda: None) -> None:
        """Start it, and kill it once the ledger has so many lines."""
        process = self.start()
        until = time.monotonic() + 60
        while len(self.lines()) < lines:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "the ledger does not grow"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.communicate()
        also()

    def finish(self) -> str:
        out, error = self.start().communicate(timeout=90)
        assert not error, error
        return out

    def lines(self) -> list[str]:
        return self.ledger.read_text().splitlines()


def kill_keeper(run_dir: Path) -> None:
    os.kill(int((run_dir / "keeper" / "local.socket").read_text().split()[2]), signal.SIGKILL)


@pytest.mark.parametrize("keeper", ["lives", "dies"])
def test_forty_evaluations_killed_twice_are_forty_and_none_twice(tmp_path: Path, keeper: str) -> None:
    script = Script(tmp_path, ASK_AND_TELL)
    run_dir = tmp_path / "runs" / "search"
    for lines in (10, 25):
        script.killed_at(lines, (lambda: kill_keeper(run_dir)) if keeper == "dies" else (lambda: None))
    outcome, jobs, best = script.finish().split()
    assert (outcome, jobs) == ("success", "40")
    keys = [line.split()[0] for line in script.lines()]
    assert len(keys) == len(set(keys)) == 40
    assert float(best) == min(int(line.split()[1]) ** 2 for line in script.lines())
    assert not verify(run_dir).difference
    # the same line once more: it is over, and says the same
    assert script.finish().split() == [outcome, jobs, best]
    assert len(script.lines()) == 40


def test_sixty_successes_with_two_kills_in_between_are_sixty_calls_in_order(tmp_path: Path) -> None:
    script = Script(tmp_path, CALLS)
    script.killed_at(15)
    script.killed_at(35)
    assert script.finish() == "success\n"
    called = [line.split()[0] for line in script.lines()]
    run_dir = tmp_path / "runs" / "calls"
    events = [record.event for record in read(run_dir)]
    ended = [event.key for event in events if isinstance(event, JobEvent) and event.outcome == "success"]
    assert len(ended) == 60
    assert list(dict.fromkeys(called)) == ended
    assert len(called) <= 62, "only the call that was under way at a kill is made again"
    assert not verify(run_dir).difference
