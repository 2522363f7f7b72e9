"""A run that a process works on, here or on another machine, is not removed and not resumed beside it."""

import os
import shutil
import subprocess
import sys
import time

import msgspec
import pytest

from ensemble.journal import JournalWriter
from ensemble.model.decisions import Record
from ensemble.model.errors import InputError
from ensemble.model.events import RunStarted
from ensemble.runs.local import LocalRun, LocalRuns
from ensemble.spec.loader import loads

LONG = "name: long\njobs: [{name: work, command: sleep 600}]\n"


def ensemble(where, *args, before=()):
    environment = {**os.environ, "ENSEMBLE_HOME": str(where / "home")}
    words = [*before, sys.executable, "-m", "ensemble", *args]
    return subprocess.run(words, cwd=where, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def alive(tmp_path):
    """A run that a process of this machine works on."""
    (tmp_path / "long.yaml").write_text(LONG)
    environment = {**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [sys.executable, "-m", "ensemble", "run", "long.yaml"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "run long-1" in process.stdout.readline()
    yield tmp_path
    ensemble(tmp_path, "cancel", "long-1")
    process.wait(60)
    process.stdout.close()


def another_host():
    """The beginning of a command line that runs on this machine under another name."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
        pytest.skip("a process cannot have another host name here (it needs root and unshare)")
    return ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"]


@pytest.mark.parametrize("words", [("rm", "long-1", "--yes"), ("resume", "long-1")])
@pytest.mark.parametrize("where", ["this host", "another host"])
def test_a_run_that_is_alive_is_refused(alive, words, where):
    done = ensemble(alive, *words, before=another_host() if where == "another host" else ())
    assert (done.returncode, done.stdout) == (2, "")
    assert "run long-1 is being run by process" in done.stderr
    assert (alive / "runs/long-1/journal").is_dir()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A run whose process is, or was, on another machine."""
    run_dir = tmp_path / "far-1"
    with monkeypatch.context() as there:
        there.setattr("ensemble.journal.writer.machine", lambda: "another boot")
        there.setattr("socket.gethostname", lambda: "elsewhere")
        journal = JournalWriter.create(run_dir, "far-1")
        spec = msgspec.to_builtins(loads(LONG))
        journal.append(Record(1, time.time(), RunStarted("far-1", spec, "0.1.0", run_dir=str(run_dir))))
        journal.close()
    return run_dir / "journal"


def aged(path, seconds):
    path.touch()
    os.utime(path, (time.time() - seconds,) * 2)


def lease_is_new(journal):
    aged(journal / "alive.1", 5)


def lease_cannot_be_told(journal):
    """It has only just begun, or its lease was removed."""


def lease_has_expired(journal):
    aged(journal / "alive.1", 120)


def process_left(journal):
    lease_is_new(journal)
    (journal / "alive.1").rename(journal / "left.1")


def process_died_before_its_lease(journal):
    aged(journal / "journal.00000001", 120)


@pytest.mark.parametrize("state", [lease_is_new, lease_cannot_be_told])
def test_a_run_of_another_machine_is_refused_while_it_may_be_alive(elsewhere, state):
    state(elsewhere)
    run = LocalRun(elsewhere.parent)
    for ask in (run.remove, run.resume):
        with pytest.raises(InputError, match=r"is being run by process \d+ on host elsewhere"):
            ask()
    assert run.info().state == "running"
    run.remove(force=True)
    assert not elsewhere.exists()


@pytest.mark.parametrize("state", [lease_has_expired, process_left, process_died_before_its_lease])
def test_a_run_of_another_machine_that_nobody_works_on_can_be_removed(elsewhere, state):
    state(elsewhere)
    run = LocalRun(elsewhere.parent)
    assert run.info().state == "interrupted"
    run.remove()
    assert not elsewhere.exists()


def test_a_detached_run_whose_jobs_still_run_is_not_removed_before_it_is_cancelled(tmp_path):
    (tmp_path / "long.yaml").write_text(LONG)
    assert ensemble(tmp_path, "run", "long.yaml", "--detach").returncode == 0
    done = ensemble(tmp_path, "rm", "long-1", "--yes")
    left = (tmp_path / "runs/long-1/journal").is_dir()
    ensemble(tmp_path, "cancel", "long-1")
    assert (done.returncode, done.stdout, left) == (2, "", True)
    assert "run long-1 is not over: 1 job may still run" in done.stderr
    assert ensemble(tmp_path, "rm", "long-1", "--yes").returncode == 0


def test_a_list_shows_the_state_or_the_outcome_of_each_run(alive):
    (alive / "small.yaml").write_text("name: small\njobs: [{name: a, command: 'true'}]\n")
    assert ensemble(alive, "run", "small.yaml").returncode == 0
    rows = [line.split() for line in ensemble(alive, "list").stdout.splitlines()[1:]]
    assert [(row[0], row[3]) for row in rows] == [("long-1", "running"), ("small-1", "success")]


def test_a_run_that_a_process_here_left_is_nobodys(tmp_path, monkeypatch):
    """Its process goes on with something else, as a server does."""
    monkeypatch.setenv("ENSEMBLE_HOME", str(tmp_path / "home"))
    (tmp_path / "a.yaml").write_text("name: a\njobs: [{name: a, command: 'true'}]\n")
    from ensemble.runs import Submission

    runs = LocalRuns()
    result = runs.submit(Submission(str(tmp_path / "a.yaml"), base=str(tmp_path)))
    assert result.outcome == "success"
    runs.find(result.run_dir).remove()
    assert runs.list() == []
