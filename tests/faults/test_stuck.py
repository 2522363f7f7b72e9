"""A keeper that lives and does nothing: stopped, or without one of its threads."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from ensemble.journal.writer import process_start
from tests.faults.test_machine import command, ensemble, events, surroundings, until

FILE = """
name: s
members: {{local: {{nodes: 1, cores: 4}}}}
limits: {{{limits}}}
jobs:
  - name: a
    count: {count}
    shell: true
    command: 'echo $ENSEMBLE_KEY >> {where}/ledger; while ! [ -e {where}/go ]; do sleep 0.05; done'
"""


@pytest.fixture
def start(tmp_path):
    """Starts a run whose jobs wait for a file, and waits for the first job; what is stopped at the end is let go."""

    def start(count, limits="", **environment):
        (tmp_path / "e.yaml").write_text(FILE.format(where=tmp_path, count=count, limits=limits))
        with (tmp_path / "said").open("w") as said:
            run = subprocess.Popen(
                command("run", "e.yaml"),
                cwd=tmp_path,
                env={**surroundings(tmp_path), **environment},
                stdout=said,
                stderr=said,
            )
        until(lambda: (tmp_path / "ledger").exists(), "no job starts")
        return run

    keepers = set()
    start.keeper = lambda: keepers.add(keeper(tmp_path)) or keeper(tmp_path)
    yield start
    for pid in keepers:
        if process_start(pid):
            os.kill(pid, signal.SIGCONT)


def keeper(where):
    return int((where / "runs/s-1/keeper/local.socket").read_text().split()[2])


def executions(where):
    return Counter((where / "ledger").read_text().split())


def member_events(where):
    return [event["name"] for event in events(where) if event["type"] == "member"]


def test_a_keeper_that_is_stopped_is_replaced_and_no_job_runs_twice(start, tmp_path):
    run = start(60)
    stopped = start.keeper()
    os.kill(stopped, signal.SIGSTOP)
    (tmp_path / "go").touch()
    assert run.wait(90) == 0, (tmp_path / "said").read_text()
    assert executions(tmp_path) == {f"a-{number}": 1 for number in range(60)}
    assert "down" in member_events(tmp_path)
    assert not process_start(stopped), "it could wake and go on"


def test_a_keeper_that_is_stopped_for_a_moment_is_not_replaced(start, tmp_path):
    run = start(20)
    os.kill(start.keeper(), signal.SIGSTOP)
    time.sleep(3)
    os.kill(keeper(tmp_path), signal.SIGCONT)
    (tmp_path / "go").touch()
    assert run.wait(60) == 0
    assert "down" not in member_events(tmp_path)


def test_sigterm_ends_the_engine_of_a_stopped_keeper_and_the_run_is_resumed(start, tmp_path):
    run = start(8)
    os.kill(start.keeper(), signal.SIGSTOP)
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 130
    assert "resume" in (tmp_path / "said").read_text()
    done = ensemble(tmp_path, "resume", "s-1")
    assert done.returncode == 130, done.stdout + done.stderr
    assert json.loads(ensemble(tmp_path, "status", "-o", "json").stdout)["total"]["cancelled"] == 8
    assert max(executions(tmp_path).values()) == 1


def test_the_walltime_limit_ends_a_run_whose_keeper_is_stopped(start, tmp_path):
    run = start(8, limits="walltime: 5s, on_limit: cancel")
    os.kill(start.keeper(), signal.SIGSTOP)
    assert run.wait(90) == 3, (tmp_path / "said").read_text()
    assert json.loads(ensemble(tmp_path, "status", "-o", "json").stdout)["total"]["cancelled"] == 8


WITHOUT_A_THREAD = """
import os
from ensemble.members.local import syncer
whole = syncer.Syncer.run
def run(self):
    try:
        os.mkdir(os.environ["FIRST_KEEPER"])
    except FileExistsError:
        return whole(self)
    self._wanted.wait()
syncer.Syncer.run = run
"""


def test_a_keeper_that_lost_the_thread_that_writes_ends_is_replaced(start, tmp_path):
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(WITHOUT_A_THREAD)
    path = os.pathsep.join(filter(None, (str(tmp_path / "patch"), os.environ.get("PYTHONPATH"))))
    run = start(20, PYTHONPATH=path, FIRST_KEEPER=str(tmp_path / "first"))
    (tmp_path / "go").touch()
    assert run.wait(60) == 0, (tmp_path / "said").read_text()
    assert "down" in member_events(tmp_path)
    assert executions(tmp_path) == {f"a-{number}": 1 for number in range(20)}
    (said,) = [path.read_text() for path in Path(tmp_path, "runs/s-1/keeper").glob("*.err") if path.stat().st_size]
    assert "thread that makes ends durable is gone" in said
