"""A job that no machine holds, added while the run goes on, is a failure with a name and never a run without end."""

import pytest

from tests.faults.test_jobs import ensemble

FILE = """
name: s
members: {local: {%s, cores: 3}}
jobs:
  - {name: small, command: echo done, launcher: none, count: 3, submit: start}
  - {name: a, command: "echo {N}", parameters: {N: [1]}, %s, launcher: none, submit: start}
rules:
  - {trigger: job-success, name: a, action: {name: submit, label: a, parameters: {N: [%d]}}}
  - {trigger: job-fail, name: a, action: {name: submit, label: small, value: 1}}
"""


@pytest.mark.parametrize(
    ("size", "demand", "large", "words"),
    [
        ("nodes: 2", "tasks: '{N*3}'", 32, "a job of 96 cores fits no member (local has at most 2 nodes of 3 cores)"),
        ("nodes: 2", "tasks: '{N}', cores: 2", 3, "a job of 6 cores, 2 of them for one task fits no member"),
        ("nodes: {min: 1, max: 4}", "nodes: '{N}'", 3, "a job of 3 nodes, 3 cores fits no member"),
        ("nodes: 2, gpus: 2", "gpus: '{N}'", 3, "3 GPUs fits no member"),
    ],
)
def test_a_job_that_a_rule_adds_and_nothing_holds_fails_by_name(tmp_path, size, demand, large, words):
    (tmp_path / "e.yaml").write_text(FILE % (size, demand, large))
    done = ensemble(tmp_path, "run", "e.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout
    assert "rule-2 fired" in done.stdout, "rules hear of it"
    assert "s-1: failed (1 of 6 jobs did not succeed)" in done.stdout


def test_a_run_whose_member_a_rule_shrinks_below_its_jobs_ends(tmp_path):
    (tmp_path / "e.yaml").write_text("""
name: s
members: {local: {nodes: 2, cores: 1}}
jobs: [{name: a, command: sleep 1, nodes: 2, count: 4, launcher: none}]
rules: [{trigger: job-run, name: a, action: {name: shrink}}]
""")
    done = ensemble(tmp_path, "run", "e.yaml")
    assert "waiting jobs do not fit any more (local has at most 1 node of 1 core)" in done.stdout, done.stdout
    assert "note: jobs fit no member" in done.stdout
