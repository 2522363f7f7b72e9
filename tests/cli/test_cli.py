"""The command line as a person meets it: real processes, real exit codes."""

import json
import os
import subprocess
import sys
import time

import pytest

HELLO = """
name: hi
jobs:
  - {name: a, command: "echo out of {key}", count: 3}
  - {name: b, command: 'true', count: 2}
rules:
  - {trigger: start, action: {name: submit, label: a}}
  - {trigger: metric, name: count.a.success, when: 2, action: {name: submit, label: b}}
"""


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home")}

    def call(*words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "ensemble", *words], capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout if code in (0, 1, 3) else done.stderr

    call.environment = environment
    return call


@pytest.fixture
def hello(cli, tmp_path):
    (tmp_path / "hi.yaml").write_text(HELLO)
    cli("run", "hi.yaml")
    return cli


def test_every_verb_on_a_finished_run(hello, tmp_path):
    assert "hi-1: success" in hello("status")
    assert "fired after" in hello("explain", "last", "rule-2")
    assert hello("results", "last", "--format", "csv").count("\n") == 6
    assert "a" in hello("results", "--by", "point")
    assert "out of a-1" in hello("logs", "hi-1", "a-1")
    assert "no difference" in hello("verify", "runs/hi-1")
    assert "hi-1" in hello("list")
    assert len(hello("events").splitlines()) == len(hello("events", "--after", "0").splitlines())
    assert "is not damaged" in hello("journal", "repair", "last")
    assert "hi-1: success" in hello("resume", "last")
    hello("run", "hi.yaml", "--output", "quiet")
    assert "duration.mean" in hello("compare", "hi-1", "hi-2")
    assert "is over" in hello("cancel", "last", code=2)
    hello("rm", "hi-2", "--yes")
    assert not (tmp_path / "runs" / "hi-2").exists()
    json.loads(hello("schema"))
    assert "ensemble" in hello("version")


def test_json_lines_are_the_records_and_then_the_result(cli, tmp_path):
    (tmp_path / "hi.yaml").write_text(HELLO)
    lines = [json.loads(line) for line in cli("run", "hi.yaml", "--output", "json").splitlines()]
    assert [line["seq"] for line in lines[:-1]] == list(range(1, len(lines)))
    assert lines[-1]["outcome"] == "success"


def test_exit_codes_say_how_it_ended(cli, tmp_path):
    (tmp_path / "bad.yaml").write_text("jobs: [{name: a, command: 'false'}]")
    cli("run", "bad.yaml", code=1)
    (tmp_path / "limit.yaml").write_text("limits: {jobs: 1}\njobs: [{name: a, command: 'true', count: 2}]")
    cli("run", "limit.yaml", code=3)


def test_bad_input_is_one_clear_message(cli, tmp_path):
    (tmp_path / "typo.yaml").write_text("jobs:\n  - name: a\n    comand: 'true'\n")
    assert "typo.yaml:3:5" in cli("run", "typo.yaml", code=2)
    assert "no such file" in cli("run", "nowhere.yaml", code=2)
    assert "Did you mean results" in cli("reslts", code=2)
    assert "there is no run" in cli("status", code=2)


def test_a_program_that_is_not_there_is_said_and_hurts_no_other_job(cli, tmp_path):
    (tmp_path / "e.yaml").write_text("jobs: [{name: a, command: nosuchprogram}, {name: b, command: 'true'}]")
    said = cli("run", "e.yaml", code=1)
    assert "nosuchprogram: not found on PATH" in said
    assert "1 of 2 jobs did not succeed" in said


def test_a_second_process_on_a_run_is_refused(cli, tmp_path):
    (tmp_path / "e.yaml").write_text("jobs: [{name: a, command: sleep 600}]")
    process = subprocess.Popen(
        [sys.executable, "-m", "ensemble", "run", "e.yaml"], stdout=subprocess.DEVNULL, env=cli.environment
    )
    stdout = tmp_path / "runs" / "e-1" / "jobs" / "a-0" / "stdout"
    until = time.monotonic() + 30
    while not stdout.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert "is being run by process" in cli("resume", "last", code=2)
    cli("cancel", "last")
    assert process.wait(30) == 130


def test_walltime_and_signals_have_their_own_reasons(cli, tmp_path):
    (tmp_path / "e.yaml").write_text(
        "jobs:\n"
        "  - {name: slow, command: sleep 30, walltime: 500ms}\n"
        "  - {name: shot, shell: true, command: 'kill -9 $$'}\n"
        "  - {name: prep, command: 'true', setup: 'exit 3'}\n"
    )
    cli("run", "e.yaml", code=1)
    reasons = {row["group"]: row["reason"] for row in map(json.loads, cli("results", "--format", "json").splitlines())}
    assert reasons == {"slow": "walltime", "shot": "signal", "prep": "setup"}
