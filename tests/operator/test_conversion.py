"""An Ensemble object becomes an ensemble file, or every reason why not, with the path in the object."""

import pytest

from ensemble.operator.conversion import ObjectError, convert, file_of
from ensemble.spec.loader import from_plain

JOBS = [{"name": "hello", "command": "echo hello"}]
POD = {"containers": [{"image": "lammps"}]}


def problems(data):
    with pytest.raises(ObjectError) as refused:
        convert("it", data)
    return refused.value.problems


def with_text(text):
    return {"members": [{"minicluster": {"spec": {"size": 1, "maxSize": 16, **POD}}, "ensemble": text}]}


def with_jobs(**member):
    mini = {"spec": {"size": 2, "minSize": 2, "maxSize": 4, **POD}}
    return {"members": [{"minicluster": mini, "jobs": JOBS, **member}]}


def test_the_shape_with_jobs_of_a_member_is_steered_by_workload_demand():
    found = convert("it", with_jobs(sidecar={"pullAlways": True, "image": "api", "port": "50051", "workers": 3}))
    assert found.ensemble.algorithm.name == "workload-demand"
    member = found.ensemble.members["minicluster"]
    assert (member.nodes, member.min_nodes, member.max_nodes) == (2, 2, 4)
    assert member.options["sidecar"] == {"image": "api", "pullAlways": True, "port": 50051, "workers": 3}


def test_options_of_published_examples_are_understood():
    options = {"terminateChecks": 2, "scaleUpChecks": 4, "disableTermination": "yes", "order": "ascending"}
    found = convert("it", with_jobs(algorithm={"name": "workload-demand", "options": options}) | {"checkSeconds": 7})
    assert found.ensemble.algorithm.options["scaleChecks"] == 4
    assert found.ensemble.algorithm.options["checkSeconds"] == 7


def test_the_shape_with_a_whole_file_as_text_loads():
    text = "logging: {heartbeat: 3}\njobs:\n  - {name: sleep-long, command: sleep 100}\nrules:\n"
    text += "  - {trigger: metric, name: mean.sleep-long-pending, when: '> 5', action: {name: grow, repetitions: 5}}\n"
    found = convert("it", with_text(text)).ensemble
    assert found.logging.heartbeat == 3
    assert found.rules[0].action.name == "grow"


def test_a_problem_inside_the_text_has_its_line_and_column():
    told = problems(with_text("jobs:\n  - name: a\n    commnd: echo\n"))
    assert "spec.members[0].ensemble: line 3, column 5: 'commnd' is not a key here. Did you mean command?" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"memebrs": []}, "spec.memebrs: 'memebrs' is not a key here. Did you mean members?"),
        ({"jobs": [{"name": "a", "command": "x", "walltme": "5m"}]}, "spec.jobs[0].walltme: 'walltme' is not a key"),
        ({"jobs": [{"name": "a", "command": "x", "nodes": "x"}]}, "spec.jobs[0].nodes: "),
        (
            {"rules": [{"trigger": "job-finish", "name": "helo", "action": "terminate"}]},
            "spec.rules[0].name: there is no group 'helo'. Did you mean hello?",
        ),
        ({"algorithm": "workload-demnad"}, "spec.algorithm: there is no algorithm 'workload-demnad'. Did you mean"),
        ({"size": 9}, "spec.size: size 9 is outside what the member may have"),
        ({"limits": {"jobs": 0}}, "spec.limits.jobs: a limit of 0 lets nothing run"),
        ({"service": {"journal": {"sise": "1Gi"}}}, "spec.service.journal.sise: 'sise' is not a key here."),
        ({"suspend": "yes"}, "spec.suspend: the text 'yes' where true or false was expected"),
        ({"members": [{"jobset": {}, "job": {}}]}, "spec.members[0]: a member is of one kind"),
        ({"members": [{"minicluster": {}}]}, "spec.members[0].minicluster: `spec` is missing"),
        ({"members": [{"name": "a"}, {"name": "a"}]}, "spec.members[1]: another member is called 'a' already"),
    ],
)
def test_a_bad_object_is_told_with_its_path_and_the_nearest_name(change, told):
    good = {"members": [{"minicluster": {"spec": {"size": 1, "maxSize": 4, **POD}}}], "jobs": JOBS}
    assert any(problem.startswith(told) for problem in problems(good | change)), problems(good | change)


def test_a_pod_is_written_as_in_kubernetes_and_becomes_options():
    pod = {
        "image": "x",
        "imagePullPolicy": "Never",
        "nodeSelector": {"a": "b"},
        "elastic": True,
        "template": {"spec": {}},
    }
    found = convert("it", {"members": [{"job": pod}], "jobs": JOBS}).ensemble.members["job"].options
    assert found == {"image": "x", "pull": "Never", "node_selector": {"a": "b"}, "elastic": "yes", "pod": {"spec": {}}}


def test_a_node_pool_is_where_pods_run_and_stay():
    pool = {"labels": {"pool": "cpu"}, "taints": [{"key": "batch"}]}
    member = {"job": {"image": "x"}, "nodePool": pool}
    found = convert("it", {"members": [member], "jobs": JOBS}).ensemble.members["job"].options
    assert found["pod"]["spec"]["nodeSelector"] == {"pool": "cpu"}
    assert found["pod"]["metadata"]["annotations"] == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def test_jobs_of_two_members_run_where_they_stand():
    data = {
        "members": [
            {"name": "small", "minicluster": {"spec": {"size": 1, **POD}}, "jobs": [{"name": "a", "command": "x"}]},
            {"name": "large", "minicluster": {"spec": {"size": 4, **POD}}, "jobs": [{"name": "b", "command": "x"}]},
        ]
    }
    jobs = convert("it", data).ensemble.jobs
    assert [(group.name, group.member) for group in jobs] == [("a", "small"), ("b", "large")]


def test_the_file_of_an_object_is_an_ensemble_file():
    data = with_jobs()
    read = from_plain(file_of("it", data))
    made = convert("it", data).ensemble
    assert (read.jobs, read.members, read.algorithm, read.name) == (made.jobs, made.members, made.algorithm, "it")
