"""`ensemble results` has a row for every job, also for those that never ran, and tells of the last attempt."""

import json
import os
import subprocess
import sys

import pytest

from tests.cli.test_verbs import ensemble

FILE = """
name: r
members: {local: {nodes: 2, cores: 3, gpus: 1}}
jobs:
  - {name: flaky, command: "sh -c 'echo E {attempt}; exit $(( {attempt} < 3 ))'", retries: 2, outputs: {E: 'E (.*)'}}
  - {name: bad, command: "false", retries: 1}
  - {name: between, command: "sh -c 'echo F 7; false'", outputs: {F: 'F (.*)'}, retries: {limit: 3, delay: 1h}}
  - {name: again, shell: true, command: "test {attempt} = 1 ||sleep 99; echo G7; false", outputs: {G: G(.)}, retries: 1}
  - {name: queue, command: sleep 60, count: 3, max_running: 1}
  - {name: big, command: "echo {N}", parameters: {N: [1]}, tasks: "{N}", launcher: none, submit: start}
  - {name: gpus, command: "echo {N}", parameters: {N: [1]}, gpus: "{N}", submit: start}
rules:
  - {trigger: job-success, name: big, action: {name: submit, label: big, parameters: {N: [32]}}}
  - {trigger: job-success, name: gpus, action: {name: submit, label: gpus, parameters: {N: [2]}}}
  - trigger: metric
    when: >-
      count.flaky.success >= 1 and count.bad.failed >= 1 and count.big.failed >= 1 and count.gpus.failed >= 1 and
      count.between.failed_attempts >= 1 and count.again.failed_attempts >= 1 and count.again.running >= 1 and
      count.queue.running >= 1
    action: {name: terminate}
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    where = tmp_path_factory.mktemp("results")
    (where / "e.yaml").write_text(FILE)
    done = ensemble(where, "run", "e.yaml")
    assert "r-1: terminated" in done.stdout, done.stdout + done.stderr
    done = ensemble(where, "results", "--format", "json")
    rows = {row["key"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert len(rows) == len(done.stdout.splitlines()), "one each"
    status = json.loads(ensemble(where, "status", "-o", "json").stdout)
    rows["total"] = status["total"]
    return rows


@pytest.mark.parametrize(
    ("key", "outcome", "reason", "attempt"),
    [
        ("flaky-0", "success", "", 3),
        ("bad-0", "failed", "exit", 2),
        ("between-0", "cancelled", "terminate", 1),
        ("again-0", "cancelled", "cancelled", 2),
        ("queue-0", "cancelled", "cancelled", 1),
        ("queue-1", "cancelled", "terminate", 0),
        ("queue-2", "cancelled", "terminate", 0),
        ("big-1", "failed", "never-fits", 0),
        ("gpus-1", "failed", "never-fits", 0),
    ],
)
def test_each_job_has_a_row_with_its_end_and_how_often_it_was_tried(found, key, outcome, reason, attempt):
    row = found[key]
    assert (row["outcome"], row["reason"], row["attempt"]) == (outcome, reason, attempt)


def test_there_are_as_many_rows_of_each_outcome_as_the_summary_counts(found):
    total = found["total"]
    for outcome in ("success", "failed", "cancelled", "lost"):
        mine = [key for key, row in found.items() if row.get("outcome") == outcome]
        assert len(mine) == total[outcome], mine
    assert len(found) - 1 == total["submitted"]


def test_a_row_tells_nothing_of_an_earlier_attempt(found):
    assert found["flaky-0"]["E"] == 3
    assert "G" not in found["again-0"]
    assert found["again-0"]["signal"] == 15


def test_a_job_that_fits_no_member_has_a_row_with_its_parameters(found):
    assert found["gpus-1"]["N"] == 2
    assert found["big-1"]["N"] == 32


def test_jobs_that_wait_while_a_run_is_under_way_have_rows_too(tmp_path):
    (tmp_path / "e.yaml").write_text(
        "name: r\njobs: [{name: a, command: sleep 60, count: 3, max_running: 1}]\n"
        "rules: [{trigger: job-run, name: a, action: {name: submit, label: a, value: 2}}]"
    )
    (tmp_path / "see.py").write_text("""
from ensemble import Ensemble

run = Ensemble.load("e.yaml").start()
for event in run:
    if getattr(event, "state", "") == "run":
        print([(row["key"], row["outcome"], row["attempt"]) for row in run.results()])
        run.cancel()
""")
    done = subprocess.run(
        [sys.executable, "see.py"],
        cwd=tmp_path,
        env={**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    waiting = [(f"a-{number}", "active", 0) for number in range(1, 5)]
    assert str([("a-0", "active", 1), *waiting]) in done.stdout, done.stdout + done.stderr
