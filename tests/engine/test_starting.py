"""Which groups start by themselves, and that a run in which no job ran is no success."""

import pytest

from ensemble.simulation import simulate
from ensemble.spec.loader import loads
from ensemble.spec.starting import groups_that_start

TWO = "jobs: [{name: a, command: 'true'}, {name: b, command: 'true'}]\n"


def rule(text):
    return TWO + f"custom: 'def f(): return []'\nrules: [{{{text}}}]"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("trigger: start, action: {name: custom, label: f}", "ab"),
        ("trigger: start, action: {name: submit, label: b}", "a"),
        ("trigger: start, action: {name: grow}", "ab"),
        ("trigger: job-success, name: a, action: {name: submit, label: b}", "a"),
        ("trigger: job-success, name: b, action: {name: submit, label: b, repetitions: 3}", "ab"),
        ("trigger: start, action: {name: switch-algorithm, label: workload-success}", ""),
        (
            "trigger: start, action: {name: add-rule, rule: {trigger: job-success, name: a, "
            "action: {name: submit, label: b}}}",
            "a",
        ),
    ],
)
def test_a_group_starts_by_itself_unless_something_else_submits_it(text, names):
    assert "".join(groups_that_start(loads(rule(text)))) == names


def test_a_start_rule_that_calls_a_function_leaves_the_groups_to_start():
    run = simulate(loads(rule("trigger: start, action: {name: custom, label: f}"))).runs[0]
    assert (run.outcome, run.counts["success"]) == ("success", 2)


def test_a_run_in_which_no_job_ran_has_failed():
    given = "jobs: [{name: a, command: 'true', submit: rules}]\ncustom: 'def f(): return []'\n"
    run = simulate(loads(given + "rules: [{trigger: start, action: {name: custom, label: f}}]")).runs[0]
    assert (run.outcome, run.reason) == ("failed", "no job ran")
