"""What an edit of an Ensemble means for a run that has begun."""

import pytest

from ensemble.operator.conversion import convert
from ensemble.operator.edits import edits

RULE = {"trigger": "job-fail", "action": "terminate"}
GOOD = {
    "members": [{"name": "mini", "minicluster": {"spec": {"size": 1, "maxSize": 4, "containers": [{"image": "x"}]}}}],
    "jobs": [{"name": "hello", "command": "echo"}],
    "rules": [RULE],
}


def changed(**change):
    return edits(convert("it", GOOD, check=False), convert("it", {**GOOD, **change}, check=False), "me")


def sizes(edit):
    return [(request.what, request.action["sizes"]) for request in edit.requests]


def test_a_size_becomes_a_request():
    edit = changed(size=3)
    assert sizes(edit) == [("change", (["mini", 3, 0, 4],))]
    assert not edit.refused


def test_a_size_in_the_minicluster_is_the_same():
    mini = {"spec": {"size": 2, "maxSize": 4, "containers": [{"image": "x"}]}}
    assert sizes(changed(members=[{"name": "mini", "minicluster": mini}])) == [("change", (["mini", 2, 0, 4],))]


def test_rules_and_limits_become_one_request():
    edit = changed(rules=[{"trigger": "idle", "action": "terminate"}], limits={"jobs": 5})
    assert [request.what for request in edit.requests] == ["change"]
    asked = edit.requests[0].action
    assert (asked["limits"], [rule["trigger"] for rule in asked["rules"]]) == ({"jobs": 5}, ["idle"])


def test_another_algorithm_takes_over():
    edit = changed(algorithm={"name": "workload-success"})
    assert [request.action["name"] for request in edit.requests] == ["switch-algorithm"]


def test_what_is_about_the_object_alone_asks_nothing_of_the_run():
    assert changed(suspend=True, ttlSecondsAfterFinished=5, checkSeconds=3) == ((), ())


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"jobs": [{"name": "hello", "command": "other"}]}, "spec.jobs"),
        ({"seed": 3}, "spec.seed"),
        ({"service": {"image": "x"}}, "spec.service"),
        ({"members": [{"name": "other", "minicluster": GOOD["members"][0]["minicluster"]}]}, "spec.members"),
    ],
)
def test_the_rest_is_refused_with_its_path(change, path):
    edit = changed(**change)
    assert edit.refused
    assert edit.refused[0].startswith(f"{path}: ")
