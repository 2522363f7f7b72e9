"""Disks that fill, directories that cannot be written, processes and terminals that go away."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.disks import disk, fill

SLEEPERS = "name: s\nmembers: {local: {nodes: 1, cores: 4}}\njobs: [{name: a, command: %s, count: %d}]\n"


def command(*args):
    return [sys.executable, "-m", "ensemble", *args]


def surroundings(where):
    return {**os.environ, "ENSEMBLE_HOME": str(where / "home")}


def ensemble(where, *args):
    return subprocess.run(
        command(*args), cwd=where, env=surroundings(where), capture_output=True, text=True, timeout=90
    )


def start(where, *args, **keys):
    keys.setdefault("stdout", subprocess.DEVNULL)
    return subprocess.Popen(command(*args), cwd=where, env=surroundings(where), **keys)


def until(true, what, patience=30.0):
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def events(where, run="last"):
    done = ensemble(where, "events", run)
    return [json.loads(line)["event"] for line in done.stdout.splitlines()]


def running(where, run="s-1", jobs=1):
    """Whether so many jobs have been seen to run."""
    with contextlib.suppress(Exception):
        return sum(event["type"] == "job" and event["state"] == "run" for event in events(where, run)) >= jobs
    return False


def test_a_job_that_fills_the_disk_takes_no_other_with_it(tmp_path):
    (tmp_path / "e.yaml").write_text(
        "name: s\njobs:\n"
        "  - {name: hog, command: \"sh -c 'cat /dev/zero > big; rm big; exit 3'\"}\n"
        "  - {name: a, command: echo fine, count: 5}\n"
    )
    with disk(tmp_path / "disk", "8m") as small:
        done = ensemble(tmp_path, "run", "e.yaml", "--run-dir", str(small / "run"))
        # the journal had its reserve, or stopped and is resumed once there is room again
        if "storage" in done.stderr:
            done = ensemble(tmp_path, "resume", str(small / "run"))
        status = json.loads(ensemble(tmp_path, "status", str(small / "run"), "-o", "json").stdout)
        assert status["total"]["success"] + status["total"]["failed"] == 6, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        shutil.rmtree(small / "run")


def test_a_disk_that_is_full_is_said_and_costs_no_job_once_there_is_room(tmp_path):
    (tmp_path / "e.yaml").write_text(SLEEPERS % ("sleep 0.5", 30))
    with disk(tmp_path / "disk", "6m") as small:
        log = tmp_path / "said"
        with log.open("w") as said:
            process = start(
                tmp_path, "run", "e.yaml", "--run-dir", str(small / "run"), stdout=said, stderr=subprocess.STDOUT
            )
        until(lambda: (small / "run" / "jobs" / "a-0").exists(), "no job starts")
        filler = fill(small)
        # the journal stops the run, or the keeper says that it cannot write down how jobs end and waits for room
        until(lambda: process.poll() is not None or "cannot write down ends" in log.read_text(), log.read_text)
        filler.unlink()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        assert process.returncode in (0, 1)
        if "storage" in log.read_text():
            assert "No space left" in log.read_text()
            ensemble(tmp_path, "resume", str(small / "run"))
        assert "Traceback" not in log.read_text()
        status = json.loads(ensemble(tmp_path, "status", str(small / "run"), "-o", "json").stdout)
        total = status["total"]
        assert (total["submitted"], total["success"]) == (30, 30), total
        assert ensemble(tmp_path, "verify", str(small / "run")).returncode == 0
        shutil.rmtree(small / "run")


def test_a_directory_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "e.yaml").write_text(SLEEPERS % ("'true'", 1))
    with disk(tmp_path / "disk", "1m") as small:
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        done = ensemble(tmp_path, "run", "e.yaml", "--run-dir", str(small / "run"))
        assert done.returncode == 2
        assert "a run needs a directory it can write to" in done.stderr


def waiting(where):
    """The command of a job that runs until there is a file `go`."""
    return f"'until test -e {where}/go; do sleep 0.1; done', shell: true"


def test_a_second_process_on_the_same_run_is_refused_and_the_first_goes_on(tmp_path):
    (tmp_path / "e.yaml").write_text(SLEEPERS % (waiting(tmp_path), 2))
    first = start(tmp_path, "run", "e.yaml")
    until(lambda: running(tmp_path), "no job starts")
    second = ensemble(tmp_path, "resume", "s-1")
    assert second.returncode == 2
    assert f"is being run by process {first.pid}" in second.stderr
    (tmp_path / "go").touch()
    assert first.wait(30) == 0


@pytest.mark.parametrize(
    ("presses", "outcome", "finished"), [(1, "drained", 4), (2, "cancelled", 0), (0, "cancelled", 0)]
)
def test_ctrl_c_once_drains_and_twice_cancels_and_sigterm_cancels(tmp_path, presses, outcome, finished):
    (tmp_path / "e.yaml").write_text(SLEEPERS % ("sleep 2" if presses == 1 else "sleep 60", 40))
    process = start(tmp_path, "run", "e.yaml")
    until(lambda: running(tmp_path), "no job starts")
    if not presses:
        process.send_signal(signal.SIGTERM)
    for number in range(presses):
        until(
            lambda number=number: sum(event["type"] == "request" for event in events(tmp_path)) >= number, "not heard"
        )
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    status = json.loads(ensemble(tmp_path, "status", "-o", "json").stdout)
    assert status["outcome"] == outcome
    assert status["total"]["success"] >= finished
    kept = status["total"]["pending"] if outcome == "drained" else 0
    assert status["total"]["success"] + status["total"]["cancelled"] + kept == 40
    asked = [event["by"] for event in events(tmp_path) if event["type"] == "request"]
    assert asked == (["SIGINT"] * presses or ["SIGTERM"])


def test_a_terminal_that_goes_away_is_noted_and_nothing_else(tmp_path):
    (tmp_path / "e.yaml").write_text(SLEEPERS % (waiting(tmp_path), 6))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ["ENSEMBLE_HOME"] = str(tmp_path / "home")
        os.execv(sys.executable, command("run", "e.yaml"))
    until(lambda: running(tmp_path), "no job starts")
    os.close(terminal)

    def noted():
        return "terminal-gone" in [event.get("name") for event in events(tmp_path) if event["type"] == "fault"]

    until(noted, "it is not noted")
    (tmp_path / "go").touch()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert sum(event.get("outcome") == "success" for event in events(tmp_path)) == 6


def test_a_reader_that_stops_reading_ends_nothing(tmp_path):
    (tmp_path / "e.yaml").write_text(SLEEPERS % ("'true'", 20))
    process = start(tmp_path, "run", "e.yaml", "-o", "json", stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert json.loads(ensemble(tmp_path, "status", "-o", "json").stdout)["total"]["success"] == 20


def test_a_keeper_that_is_killed_is_replaced_and_its_jobs_are_found(tmp_path):
    (tmp_path / "e.yaml").write_text(SLEEPERS % (waiting(tmp_path), 4))
    process = start(tmp_path, "run", "e.yaml")
    # a job that is killed between its claim and its start cannot be told from one that ran, and goes again
    until(lambda: running(tmp_path, jobs=4), "not all jobs start")
    keeper = int((tmp_path / "runs/s-1/keeper/local.socket").read_text().split()[2])
    os.kill(keeper, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert process.wait(30) == 0
    found = events(tmp_path)
    assert "down" in [event.get("name") for event in found if event["type"] == "member"]
    assert sum(event.get("outcome") == "success" for event in found) == 4
    assert {event["attempt"] for event in found if event["type"] == "job" and "attempt" in event} <= {1}


FUNCTIONS = """
name: f
jobs:
  - {name: a, command: 'true', count: 3}
  - {name: b, command: 'true', submit: rules}
rules:
  - {id: raises, trigger: metric, when: count.a.success == 3, action: {name: custom, label: raises}}
  - {id: dies, trigger: metric, when: count.a.success == 3, action: {name: custom, label: dies}}
  - {id: nonsense, trigger: metric, when: count.a.success == 3, action: {name: custom, label: nonsense}}
  - {id: works, trigger: metric, when: count.a.success == 3, action: {name: custom, label: works}}
custom: |
  import os
  def raises(**kwargs): raise KeyError("pressure")
  def dies(**kwargs): os._exit(3)
  def nonsense(**kwargs): return {"name": "sumbit", "label": "b"}
  def works(**kwargs): return {"name": "submit", "label": "b"}
"""


def test_a_function_that_raises_dies_or_talks_nonsense_fails_the_run_and_holds_up_nothing(tmp_path):
    (tmp_path / "e.yaml").write_text(FUNCTIONS)
    done = ensemble(tmp_path, "run", "e.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    faults = {
        event["error"].split(":")[0].split()[0]: event["fault"] for event in events(tmp_path) if event.get("fault")
    }
    assert faults == {"raises": "raised", "dies": "died", "nonsense": "nonsense"}
    for words in (
        "raises: KeyError: 'pressure'",
        "dies ended its process",
        "'sumbit' is not an action. Did you mean submit?",
    ):
        assert words in done.stdout, done.stdout
    assert re.search(r"^b +1 +1 ", done.stdout, re.MULTILINE), done.stdout


def test_every_named_fault_stands_in_the_document():
    from ensemble.model.jobs import REASONS

    text = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    missing = [reason for reason in REASONS if f"`{reason}`" not in text]
    assert missing == []


STEPPING = """
import time
wall = time.time
def stepped():
    with open({offset!r}) as file:
        return wall() + float(file.read())
time.time = stepped
"""


def test_a_clock_that_is_set_changes_no_duration_and_meets_no_limit(tmp_path):
    # by each job, in its midst, for all processes of the run alike, as the machine's own clock would be
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(STEPPING.format(offset=str(offset)))
    (tmp_path / "e.yaml").write_text(
        "name: s\nmembers: {local: {nodes: 1, cores: 1}}\nlimits: {walltime: 10m}\njobs:\n"
        "  - name: a\n    parameters: {step: [86400, -86400, 7200, -3600, 0]}\n    walltime: 5m\n    shell: true\n"
        f"    command: sleep 0.1; echo {{step}} > step; mv step {offset}; sleep 0.1\n"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path / "clock"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command("run", "e.yaml"), cwd=tmp_path, env={**surroundings(tmp_path), "PYTHONPATH": path}, timeout=90
    )
    assert done.returncode == 0
    assert offset.read_text().strip() == "0"
    records = [json.loads(line) for line in ensemble(tmp_path, "events", "last").stdout.splitlines()]
    times = [record["at"] for record in records]
    assert times == sorted(times)
    assert times[-1] - times[0] < 600
    lines = ensemble(tmp_path, "results", "last", "--format", "json").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 5
    assert all(0 < row["duration"] < 300 and 0 <= row["pending"] < 300 for row in rows)
    assert ensemble(tmp_path, "verify", "last").returncode == 0
