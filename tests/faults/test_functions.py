"""Custom functions that raise, hang, die or answer nonsense, in a real run: each is an event with a name and a line in
the summary, and jobs and other functions go on."""

import json
import os
import subprocess
import sys

import pytest

from tests.faults.test_jobs import ensemble

FILE = """
name: f
members: {local: {nodes: 1, cores: 4}}
custom: |
  import os, time
  def hangs(**kwargs): time.sleep(3600)
  def raises(**kwargs): raise ValueError("no such thing")
  def nonsense(**kwargs): return 42
  def nobody(**kwargs): return {"name": "submit", "label": "nobody"}
  def misspelt(**kwargs): return {"name": "sumbit", "label": "good"}
  def leaves(**kwargs): raise SystemExit(5)
  def dies(**kwargs): os._exit(3)
  def killed(**kwargs): os.kill(os.getpid(), 9)
  def well(**kwargs): return {"name": "submit", "label": "extra", "value": 2}
jobs:
  - {name: good, command: sleep 0.2, count: 12, submit: start}
  - {name: extra, command: "true", submit: rules}
rules:
"""

FAULTS = {
    "hangs": ("hung", "hangs took more than 1 s"),
    "raises": ("raised", "raises: ValueError: no such thing"),
    "nonsense": ("nonsense", "nonsense returned nonsense: 42 is not an action"),
    "nobody": (
        "nonsense",
        "nobody returned nonsense: rule.action.label: there is no group 'nobody'",
    ),
    "misspelt": ("nonsense", "Did you mean submit?"),
    "leaves": ("raised", "leaves: SystemExit: 5"),
    "dies": ("died", "dies ended its process (exit code 3)"),
    "killed": ("died", "killed ended its process (signal 9)"),
}

RUN = """
import sys
from ensemble.cli.main import ensemble
from ensemble.functions.workers import FunctionWorkers

FunctionWorkers.__init__.__defaults__ = ("", "", 1.0)
sys.argv = ["ensemble", "run", "e.yaml"]
ensemble()
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    where = tmp_path_factory.mktemp("functions")
    calls = [f"  - {{trigger: job-run, name: good, action: {{name: custom, label: {one}}}}}\n" for one in FAULTS]
    calls.append("  - {trigger: job-success, name: good, action: {name: custom, label: well}}\n")
    (where / "e.yaml").write_text(FILE + "".join(calls))
    env = {**os.environ, "ENSEMBLE_HOME": str(where / "home")}
    done = subprocess.run([sys.executable, "-c", RUN], cwd=where, env=env, capture_output=True, text=True, timeout=90)
    assert "Traceback" not in done.stdout + done.stderr
    done.where = where
    return done


@pytest.mark.parametrize("function", FAULTS)
def test_a_fault_of_a_function_is_told_by_name_as_it_happens(faulty, function):
    assert FAULTS[function][1] in faulty.stdout, faulty.stdout + faulty.stderr


def test_each_fault_is_an_event_with_its_name_in_the_journal(faulty):
    records = map(json.loads, ensemble(faulty.where, "events").stdout.splitlines())
    events = [record["event"] for record in records if record["event"]["type"] == "returned"]
    found = {event["error"].replace(":", " ").split()[0]: event["fault"] for event in events if "error" in event}
    assert found == {function: fault for function, (fault, _) in FAULTS.items()}


def test_no_job_is_lost_and_the_function_that_works_is_heard(faulty):
    assert faulty.returncode == 1, faulty.stdout + faulty.stderr
    rows = [json.loads(line) for line in ensemble(faulty.where, "results", "--format", "json").stdout.splitlines()]
    assert (
        sorted((row["group"], row["outcome"]) for row in rows)
        == [("extra", "success")] * 2 + [("good", "success")] * 12
    )


def test_the_summary_counts_the_faults_of_functions(faulty):
    summary = faulty.stdout[faulty.stdout.index("rules fired") :]
    for line in (
        "note: a custom function raised an exception (twice)",
        "note: a custom function returned nonsense (3 times)",
        "note: a custom function ended its process (twice)",
        "note: a custom function took too long and was ended",
    ):
        assert line in summary, summary


def test_a_rule_says_that_it_fired_although_its_function_failed(faulty):
    why = ensemble(faulty.where, "explain", "last", "rule-2").stdout
    assert "fired after" in why
    assert "function-raised" in why, why


def test_what_is_known_of_it_stands_in_the_log_of_functions(faulty):
    log = (faulty.where / "runs/f-1/functions.log").read_text()
    assert 'raise ValueError("no such thing")' in log
    assert ensemble(faulty.where, "verify").returncode == 0
