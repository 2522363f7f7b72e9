"""What the cluster of `scripts/kubernetes-cluster` promises to every other test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster import FOR_FAKE_NODES, SCRIPT, TEST_IMAGE, Cluster, Namespace, missing, own


def job(name: str, script: str, **changes: Any) -> dict[str, Any]:
    """A Job of one pod that runs this script on the real node."""
    container = {"name": "main", "image": TEST_IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script]}
    pod = {"restartPolicy": "Never", "containers": [container], **changes}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def restricted(made: dict[str, Any], image: str) -> dict[str, Any]:
    """The same Job with this image, as the restricted Pod Security Standard wants it."""
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["image"] = image
    container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return made


class TestRealNode:
    def test_a_job_ends_with_its_own_exit_code_and_its_log_is_kept(self, namespace: Namespace) -> None:
        namespace.apply(job("seven", "echo told; exit 7"))
        namespace.kubectl("wait", "--for=condition=Failed", "job/seven", "--timeout=60s")
        (pod,) = namespace.get("pods")["items"]
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
        assert namespace.kubectl("logs", "job/seven") == "told\n"

    def test_a_pod_finds_another_by_the_name_of_a_headless_service(self, namespace: Namespace) -> None:
        labels = {"app": "web"}
        serve = "mkdir /www; echo hello >/www/index.html; exec httpd -f -p 8080 -h /www"
        container = {
            "name": "main",
            "image": TEST_IMAGE,
            "imagePullPolicy": "Never",
            "command": ["/bin/sh", "-c", serve],
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        }
        spec = {"hostname": "web-0", "subdomain": "web", "containers": [container]}
        headless = {"clusterIP": "None", "selector": labels}
        namespace.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": headless},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": labels}, "spec": spec},
        )
        namespace.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        asked = f"until wget -q -O - http://web-0.web.{namespace.name}.svc.cluster.local:8080; do sleep 0.2; done"
        namespace.apply(job("ask", asked))
        namespace.kubectl("wait", "--for=condition=Complete", "job/ask", "--timeout=60s")
        assert namespace.kubectl("logs", "job/ask") == "hello\n"

    def test_a_command_runs_in_a_pod(self, namespace: Namespace) -> None:
        namespace.apply(job("sleeper", "sleep 60", terminationGracePeriodSeconds=0))
        namespace.kubectl("wait", "--for=jsonpath={.status.ready}=1", "job/sleeper", "--timeout=60s")
        assert namespace.kubectl("exec", "job/sleeper", "--", "echo", "inside") == "inside\n"


class TestImage:
    @pytest.mark.parametrize("program", ["ensemble", "ensemble-server", "ensemble-operator"])
    def test_it_runs_where_pods_are_restricted(self, cluster: Cluster, image: str, program: str) -> None:
        with cluster.namespace("image", {"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
            namespace.apply(restricted(job(program, f"exec {program} --help"), image))
            namespace.kubectl("wait", "--for=condition=Complete", f"job/{program}", "--timeout=60s")
            assert f"Usage: {program}" in namespace.kubectl("logs", f"job/{program}")


class TestFakeNodes:
    def test_a_jobset_completes_on_them(self, namespace: Namespace) -> None:
        spec = job("unused", "true", **FOR_FAKE_NODES)["spec"]
        replicated = [{"name": "workers", "replicas": 2, "template": {"spec": spec}}]
        namespace.apply(
            {
                "apiVersion": "jobset.x-k8s.io/v1alpha2",
                "kind": "JobSet",
                "metadata": {"name": "set"},
                "spec": {"replicatedJobs": replicated},
            }
        )
        namespace.kubectl("wait", "--for=condition=Completed", "jobset/set", "--timeout=60s")

    def test_a_leaderworkerset_becomes_ready_on_them(self, namespace: Namespace) -> None:
        pod = {"containers": [{"name": "main", "image": TEST_IMAGE}], **FOR_FAKE_NODES}
        template = {"size": 2, "workerTemplate": {"spec": pod}}
        namespace.apply(
            {
                "apiVersion": "leaderworkerset.x-k8s.io/v1",
                "kind": "LeaderWorkerSet",
                "metadata": {"name": "group"},
                "spec": {"replicas": 1, "leaderWorkerTemplate": template},
            }
        )
        namespace.kubectl("wait", "--for=condition=Available", "lws/group", "--timeout=60s")

    def test_a_pod_that_does_not_ask_for_one_is_put_on_the_real_node(self, namespace: Namespace) -> None:
        namespace.apply(job("real", "true"))
        namespace.kubectl("wait", "--for=condition=Complete", "job/real", "--timeout=60s")
        (pod,) = namespace.get("pods")["items"]
        assert pod["spec"]["nodeName"] == "node"


class TestAuditLog:
    def test_what_was_made_is_counted_also_when_it_is_gone(self, namespace: Namespace) -> None:
        for _ in range(2):
            namespace.kubectl("create", "configmap", "again")
            namespace.kubectl("delete", "configmap", "again")
        assert namespace.created("configmaps") == ["kube-root-ca.crt", "again", "again"]

    def test_an_object_that_server_side_apply_makes_counts_once(self, namespace: Namespace) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "applied"}})
        for _ in range(2):
            namespace.kubectl("apply", "--server-side", "-f", "-", given=text)
        assert namespace.created("secrets") == ["applied"]


class TestAccounts:
    def test_an_account_may_do_what_its_rules_say_and_nothing_else(self, namespace: Namespace, tmp_path: Path) -> None:
        rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]}]
        kubeconfig = namespace.account("reader", rules, tmp_path)

        def may(*words: str) -> bool:
            command = [namespace.cluster.programs / "kubectl", f"--kubeconfig={kubeconfig}", *words]
            return not subprocess.run(command, capture_output=True, timeout=60, check=False).returncode

        assert may("get", "jobs")
        assert not may("get", "pods")
        assert not may("get", "jobs", "--all-namespaces")


class TestScript:
    def test_a_missing_go_is_told(self, tmp_path: Path) -> None:
        environment = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, SCRIPT, "build"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert "Go is missing" in done.stderr

    def test_a_stopped_cluster_leaves_nothing_on_the_machine(self) -> None:
        if missing():
            pytest.skip(missing())
        with own("--fake-nodes=1") as cluster:
            with cluster.namespace("left") as namespace:
                namespace.apply(job("left", "sleep 600"))
                namespace.kubectl("wait", "--for=jsonpath={.status.ready}=1", "job/left", "--timeout=60s")
            name = json.loads((cluster.folder / "cluster.json").read_text())["name"]
            assert traces(cluster.folder, name)
        assert traces(cluster.folder, name) == []

    def test_a_process_that_was_killed_is_started_again_as_it_was(self) -> None:
        if missing():
            pytest.skip(missing())
        with own("--no-node") as cluster:
            cluster.kubectl("create", "namespace", "kept")
            for name in ("kube-apiserver", "etcd"):
                cluster.script("kill", name)
            cluster.script("restart", "etcd")
            cluster.script("restart", "kube-apiserver")
            cluster.script("start", "--no-node")
            assert cluster.kubectl("get", "namespace", "kept", "-o", "name") == "namespace/kept\n"

    def test_a_node_that_lost_power_comes_back_and_runs_jobs(self) -> None:
        if missing():
            pytest.skip(missing())
        with own() as cluster:
            cluster.script("kill", "node")
            cluster.script("start")
            with cluster.namespace("again") as namespace:
                namespace.apply(job("again", "true"))
                namespace.kubectl("wait", "--for=condition=Complete", "job/again", "--timeout=60s")

    def test_starting_it_again_changes_the_number_of_fake_nodes(self) -> None:
        if missing():
            pytest.skip(missing())
        with own("--no-node", "--fake-nodes=3") as cluster:
            cluster.script("start", "--no-node", "--fake-nodes=1")
            assert cluster.kubectl("get", "nodes", "-o", "name") == "node/fake-0\n"


def traces(folder: Path, name: str) -> list[str]:
    """What of a cluster is on this machine: processes, mounts, interfaces, control groups, files."""
    processes = [
        f"process {process.name}"
        for process in Path("/proc").glob("[0-9]*")
        if any(str(folder).encode() in _content(process / file) for file in ("cmdline", "environ"))
    ]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    interfaces = [str(link) for link in Path("/sys/class/net").glob(f"{name}*")]
    groups = [str(group) for group in Path("/sys/fs/cgroup").glob(f"**/{name}")]
    return [*processes, *mounts, *interfaces, *groups, *([str(folder)] if folder.exists() else [])]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # the process has ended
        return b""
