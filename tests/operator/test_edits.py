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


def test_a_size_becomes_a_request():
    edit = changed(size=3)
    assert [request.action for request in edit.requests] == [{"name": "scale", "member": "mini", "value": 3}]
    assert not edit.refused


def test_a_size_in_the_minicluster_is_the_same():
    mini = {"spec": {"size": 2, "maxSize": 4, "containers": [{"image": "x"}]}}
    edit = changed(members=[{"name": "mini", "minicluster": mini}])
    assert [request.action["value"] for request in edit.requests] == [2]


def test_a_rule_is_added():
    edit = changed(rules=[RULE, {"trigger": "idle", "action": "terminate"}])
    assert [(request.what, request.action["trigger"]) for request in edit.requests] == [("add-rule", "idle")]


def test_another_algorithm_takes_over():
    edit = changed(algorithm={"name": "workload-success"})
    assert [request.action["name"] for request in edit.requests] == ["switch-algorithm"]


def test_what_is_about_the_object_alone_asks_nothing_of_the_run():
    assert changed(suspend=True, ttlSecondsAfterFinished=5, checkSeconds=3) == ((), ())


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"rules": []}, "spec.rules[0]"),
        ({"rules": [{"trigger": "idle", "action": "terminate"}]}, "spec.rules[0]"),
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
