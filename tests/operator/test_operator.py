"""The operator under its own account, in a real cluster: what a person who uses kubectl sees."""

import json
import signal

import pytest

from tests.operator.running import NAME, until

HELLO = {
    "jobs": [{"name": "hello", "command": "echo hello world", "count": 3}, {"name": "again", "command": "true"}],
    "rules": [
        {
            "trigger": "metric", "name": "count.hello.success", "when": 3, "id": "second-round",
            "action": {"name": "submit", "label": "again"},
        }
    ],
}  # fmt: skip
LONG = {"jobs": [{"name": "wait", "command": "sleep 600", "count": 2}]}


def test_hello_world_runs_to_the_end_and_kubectl_tells_it(world):
    world.operator()
    world.namespace.apply(world.ensemble("hello-world", **HELLO))
    world.serve("hello-world")
    status = world.phase("hello-world", "Completed")
    assert (status["progress"], status["rulesFired"], status["outcome"]) == ("4/4", 1, "success")
    assert [world.condition("hello-world", kind)["status"] for kind in ("Completed", "Failed")] == ["True", "False"]
    # the operator's own word, which it gives when it has seen the service
    until(lambda: world.condition("hello-world", "Ready")["status"] == "True", what="Ready")
    line = world.namespace.kubectl("get", "ensembles", "--no-headers").split()
    assert line[:3] == ["hello-world", "Completed", "4/4"]
    told = dict(world.events("hello-world"))
    assert told["RuleFired"] == "second-round fired because count.hello.success = 3: 1 job of again"
    assert "Completed" in told
    assert len(world.namespace.created("jobs")) == 4


def test_a_service_pod_that_is_killed_goes_on_and_no_job_runs_twice(world):
    world.operator()
    world.namespace.apply(world.ensemble("it", jobs=[{"name": "nap", "command": "sleep 2", "count": 6}]))
    service = world.serve("it")
    until(lambda: world.status("it").get("jobs", {}).get("running", 0), what="a job that runs")
    service.kill()
    world.serve("it", again=True)
    assert world.phase("it", "Completed")["progress"] == "6/6"
    created = world.namespace.created("jobs")
    assert len(created) == len(set(created)) == 6
    assert "Resumed" in dict(world.events("it"))


def test_an_ensemble_is_suspended_and_goes_on(world):
    world.operator()
    spec = {"jobs": [{"name": "nap", "command": "sleep 1", "count": 4, "max_running": 1}]}
    world.namespace.apply(world.ensemble("it", **spec))
    world.serve("it")
    until(lambda: world.status("it").get("jobs", {}).get("running", 0), what="a job that runs")
    world.namespace.kubectl("patch", "ensemble", "it", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    status = world.phase("it", "Suspended")
    until(lambda: not world.status("it")["jobs"]["running"], what="the end of what ran")
    assert world.status("it")["jobs"]["pending"] or status["jobs"]["pending"]
    world.namespace.kubectl("patch", "ensemble", "it", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    assert world.phase("it", "Completed")["progress"] == "4/4"


def test_deleting_an_ensemble_ends_its_jobs_and_all_that_was_made(world):
    world.operator()
    world.namespace.apply(world.ensemble("it", **LONG))
    service = world.serve("it")
    until(lambda: world.status("it").get("jobs", {}).get("running", 0) == 2, what="two jobs that run")
    world.namespace.kubectl("delete", "ensemble", "it")
    until(service.over, what="the end of the service")
    kinds = "deployment,configmap,role,rolebinding,serviceaccount,networkpolicy"
    selector = "--selector=app.kubernetes.io/managed-by=ensemble-operator"
    until(lambda: not world.namespace.get("jobs")["items"], what="the end of the jobs")
    until(lambda: not world.namespace.get(kinds, selector)["items"], what="the end of the rest")


def test_an_ensemble_is_deleted_when_its_time_is_over(world):
    world.operator()
    world.namespace.apply(world.ensemble("it", **HELLO, ttlSecondsAfterFinished=1))
    world.serve("it")
    until(lambda: world.find("ensemble", "it") is None, 90, "the end of the Ensemble")


def test_kubectl_scale_becomes_a_request_to_the_run(world):
    world.operator()
    member = {"job": {"image": "none"}, "size": 1, "maxSize": 4}
    world.namespace.apply(world.ensemble("it", **LONG, members=[member]))
    world.serve("it")
    world.phase("it", "Running")
    world.namespace.kubectl("scale", "ensemble", "it", "--replicas=3")
    until(lambda: world.status("it").get("size") == 3, what=f"three nodes: {world.status('it')}")


def test_a_size_outside_its_bounds_is_refused_by_the_api_itself(world):
    member = {"job": {"image": "none"}, "size": 1, "maxSize": 4}
    world.namespace.apply(world.ensemble("it", **LONG, members=[member]))
    with pytest.raises(AssertionError, match="size is outside minSize and maxSize of the member"):
        world.namespace.kubectl("scale", "ensemble", "it", "--replicas=9")


def test_two_operators_and_the_second_leads_when_the_first_is_killed(world):
    first = world.operator()
    first.says("leads")
    second = world.operator()
    second.says("waits")
    first.kill()
    second.says("leads")
    world.namespace.apply(world.ensemble("it", **HELLO))
    until(lambda: world.find("deployment", "it-ensemble"), what="the Deployment")
    until(lambda: world.condition("it", "Ready").get("status") == "True", what="Ready")


def test_an_operator_that_stops_gives_up_its_lease(world):
    first = world.operator()
    first.says("leads")
    first.stop()
    assert first.popen.returncode == 0
    assert not world.find("lease", NAME)["spec"].get("holderIdentity")


def test_a_restart_of_the_operator_touches_nothing(world):
    first = world.operator()
    world.namespace.apply(world.ensemble("it", **HELLO))
    until(lambda: world.condition("it", "Ready").get("status") == "True", what="Ready")
    before = world.find("deployment", "it-ensemble")["metadata"]["generation"]
    first.popen.send_signal(signal.SIGKILL)
    first.popen.wait(10)
    second = world.operator()
    second.says("watching", 40)
    world.namespace.apply(world.ensemble("other", **HELLO))
    until(lambda: world.find("deployment", "other-ensemble"), what="the other Deployment")
    assert world.find("deployment", "it-ensemble")["metadata"]["generation"] == before


def test_what_cannot_be_made_is_a_condition_that_names_the_right(world):
    world.namespace.cluster.kubectl("delete", "clusterrolebinding", f"{NAME}-{world.namespace.name}")
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME}
    limited = json.loads(world.namespace.cluster.kubectl("get", "clusterrole", NAME, "-o", "json"))
    rules = [rule for rule in limited["rules"] if "configmaps" not in rule["resources"]]
    rules.append({"apiGroups": [""], "resources": ["serviceaccounts", "events"], "verbs": ["create", "patch"]})
    name = f"{NAME}-{world.namespace.name}"
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": world.namespace.name}
    world.namespace.apply(
        {**limited, "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {**role, "name": name}, "subjects": [subject],
        },
    )  # fmt: skip
    world.stack.callback(world.namespace.cluster.kubectl, "delete", "clusterrole", name)
    world.operator()
    world.namespace.apply(world.ensemble("it", **HELLO))
    found = until(lambda: world.condition("it", "Degraded"), what="Degraded")
    assert found["reason"] == "CannotBeMade"
    assert "patch configmaps" in found["message"]
