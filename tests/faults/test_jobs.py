"""What goes wrong with a job gets a name, rules and retries see it, the summary says it, and no other job is lost."""

import json
import os
import subprocess
import sys

import pytest

FILE = """
name: faults
members: {local: {nodes: 1, cores: 4}}
jobs:
  - {name: good, command: "sh -c 'sleep 0.2; echo value 5'", count: 12, outputs: {value: 'value ([0-9.]+)'}}
  - {name: missing-program, command: no-such-program --help}
  - {name: not-executable, command: ./notes.txt, inputs: [notes.txt]}
  - {name: killed, command: "sh -c 'kill -9 $$'"}
  - {name: walltime, command: sleep 60, walltime: 300ms}
  - {name: exit, command: "sh -c 'exit 7'", retries: 2}
  - {name: no-figure, command: echo nothing, outputs: {energy: {pattern: 'E ([0-9.]+)', required: true}}}
  - {name: optional-figure, command: echo nothing, outputs: {energy: 'E ([0-9.]+)'}}
  - {name: infinite-figure, command: echo E 1e999, outputs: {energy: {pattern: 'E (.*)', required: true}}}
  - {name: nan-figure, command: echo E nan, outputs: {energy: {pattern: 'E (.*)', required: true}}}
  - {name: not-valid, command: echo E 12, outputs: {energy: 'E (.*)'}, valid: energy < 5}
  - {name: setup, command: echo never, setup: 'false'}
  - {name: cleanup, command: echo done, cleanup: 'false'}
  - {name: gone-input, command: cat late.txt, inputs: ['late{attempt}.txt']}
  - {name: huge-output, shell: true, command: 'yes | head -c 30000000; echo E 7', outputs: {energy: 'E ([0-9.]+)'}}
  - {name: rescue, command: echo rescued, submit: rules}
rules:
  - {trigger: job-fail, name: killed, action: {name: submit, label: rescue}}
"""

EXPECTED = {
    "good": ("success", ""),
    "missing-program": ("failed", "launch"),
    "not-executable": ("failed", "launch"),
    "killed": ("failed", "signal"),
    "walltime": ("failed", "walltime"),
    "exit": ("failed", "exit"),
    "no-figure": ("failed", "outputs"),
    "optional-figure": ("success", ""),
    "infinite-figure": ("failed", "outputs"),
    "nan-figure": ("failed", "outputs"),
    "not-valid": ("failed", "valid"),
    "setup": ("failed", "setup"),
    "cleanup": ("failed", "cleanup"),
    "gone-input": ("failed", "inputs"),
    "huge-output": ("success", ""),
    "rescue": ("success", ""),
}


def ensemble(where, *args, **keys):
    env = {**os.environ, "ENSEMBLE_HOME": str(where / "home")}
    return subprocess.run(
        [sys.executable, "-m", "ensemble", *args],
        cwd=where,
        env=env,
        capture_output=True,
        text=True,
        timeout=90,
        **keys,
    )


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    where = tmp_path_factory.mktemp("faults")
    (where / "faults.yaml").write_text(FILE)
    (where / "notes.txt").write_text("no program\n")
    done = ensemble(where, "run", "faults.yaml")
    done.where = where
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def rows(faulty):
    done = ensemble(faulty.where, "results", "--format", "json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_ensemble_ends_and_its_exit_code_says_that_jobs_failed(faulty):
    assert faulty.returncode == 1, faulty.stdout + faulty.stderr


@pytest.mark.parametrize("group", EXPECTED)
def test_each_fault_has_its_reason(group, rows):
    mine = [(row["outcome"], row["reason"]) for row in rows if row["group"] == group]
    assert mine == [EXPECTED[group]] * (12 if group == "good" else 1)


def test_no_other_job_is_lost(rows):
    assert len(rows) == 12 + len(EXPECTED) - 1
    assert [row["value"] for row in rows if row["group"] == "good"] == [5.0] * 12


def test_what_failed_is_told_in_words_as_it_happens(faulty):
    said = faulty.stdout
    for words in (
        "missing-program-0 failed, launch: no-such-program: not found on PATH",
        "killed-0 failed, signal 9",
        "walltime-0 failed, walltime",
        "setup-0 failed, setup",
    ):
        assert words in said, said


def test_retries_are_spent_and_counted(faulty, rows):
    (row,) = [row for row in rows if row["group"] == "exit"]
    assert (row["attempt"], row["exit_code"]) == (3, 7)
    assert json.loads(ensemble(faulty.where, "status", "-o", "json").stdout)["total"]["failed_attempts"] >= 3


def test_the_signal_is_kept(rows):
    assert [row["signal"] for row in rows if row["group"] == "killed"] == [9]


def test_it_all_verifies(faulty):
    done = ensemble(faulty.where, "verify")
    assert done.returncode == 0, done.stdout
