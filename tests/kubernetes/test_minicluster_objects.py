"""What a MiniCluster member asks the cluster for, and how it reads its pods: no cluster is needed."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("lightkube", reason="the extra `kubernetes` is not installed here")
pytest.importorskip("cryptography", reason="the extra `service` is not installed here")

from ensemble.members.flux.jobspec import OPTIONS
from ensemble.members.kubernetes.minicluster_objects import AGENT, MiniClusterOptions, agent_command, manifest, secret
from ensemble.members.kubernetes.node_pool import NODE_CLASS, SAFE_TO_EVICT
from ensemble.members.kubernetes.objects import Condition, Meta, Pod, PodSpec, PodStatus
from ensemble.members.kubernetes.provisioning import INDEX, read_state
from ensemble.model.errors import MemberError


def spec(**options: Any) -> dict[str, Any]:
    read = MiniClusterOptions.read({"image": "programs:1", **options}, OPTIONS)
    command = agent_command("r-1", "m", "/run", read)
    found: dict[str, Any] = manifest("mine", {"a": "b"}, read, size=2, least=1, most=4, agent=command)["spec"]
    return found


def test_it_has_the_members_sizes_and_a_service_of_its_own() -> None:
    found = spec(minicluster={"size": 9, "network": {"disableAffinity": True}})
    assert (found["size"], found["minSize"], found["maxSize"]) == (2, 1, 4)
    assert found["network"] == {"headlessName": "mine", "disableAffinity": True}


def test_the_agent_is_the_last_container_and_serves_in_the_first_pod() -> None:
    found = spec(sidecar={"image": "agent:1", "pullAlways": True, "port": 1234, "workers": 3})
    main, agent = found["containers"]
    assert (main["image"], main["runFlux"]) == ("programs:1", True)
    assert (agent["name"], agent["image"], agent["pullAlways"]) == (AGENT, "agent:1", True)
    assert "ensemble agent --member minicluster --listen :1234 --workers 3" in agent["command"]
    assert '"${JOB_COMPLETION_INDEX:-0}" != 0' in agent["command"]


def test_containers_of_the_file_are_kept_and_ours_are_merged() -> None:
    given = [{"name": "data", "image": "data:1"}, {"runFlux": True, "resources": {"limits": {"cpu": 3}}}]
    main, other, agent = spec(minicluster={"containers": given})["containers"]
    assert main == {"image": "programs:1", "pullAlways": False, "runFlux": True, "resources": {"limits": {"cpu": 3}}}
    assert (other["name"], agent["image"]) == ("data", "programs:1")


def test_pods_ask_for_the_pool_and_are_not_evicted() -> None:
    pool = {"labels": {"pool": "a"}, "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}], "class": "spot"}
    pod = spec(nodePool=pool)["pod"]
    assert pod["nodeSelector"] == {"pool": "a", NODE_CLASS: "spot"}
    assert pod["tolerations"] == [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]
    assert pod["annotations"] == {SAFE_TO_EVICT: "false"}


def test_a_run_directory_on_the_shared_volume_stays_where_it_is() -> None:
    shared = {"path": "/data", "volume": {"persistentVolumeClaim": {"claimName": "claim"}}}
    options = MiniClusterOptions.read({"image": "i", "shared": shared}, OPTIONS)
    assert "--base" not in agent_command("r", "m", "/data/runs/r", options)
    assert "--base /data " in agent_command("r", "m", "/home/me/r", options)
    assert spec(shared=shared)["containers"][0]["volumes"] == {"shared": {"claimName": "claim", "path": "/data"}}


def test_each_agent_has_a_token_and_a_key_of_its_own() -> None:
    first, second = secret("mine", {})["data"], secret("mine", {})["data"]
    assert set(first) == {"token", "tls.crt", "tls.key", "ca.crt"}
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": ""}, "a MiniCluster needs the image of its programs"),
        ({"imagee": "x"}, "did you mean 'image'"),
        ({"port": 99999}, "port: expected a number from 1 to 65535"),
        ({"sidecar": {"imge": "x"}}, "did you mean 'image'"),
        ({"attach": "yes"}, "give the `name`"),
        ({"nodePool": {"taint": []}}, "nodePool: expected labels, taints, class and provisioning"),
        ({"nodePool": {"priorityClassName": "high"}}, "the pods of a MiniCluster cannot have one"),
        ({"resize_timeout": "soon"}, "resize_timeout"),
        ({"shared": "/data"}, "shared: expected a mapping"),
        ({"shared": {"path": "/d", "volume": {"emptyDir": {}}}}, "takes a persistentVolumeClaim or a hostPath"),
    ],
)
def test_an_option_that_is_wrong_is_refused_with_what_was_expected(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MemberError, match=said):
        spec(**options)


# ---- pods --------------------------------------------------------------------------------------------


def pod(index: int, **what: Any) -> Pod:
    status = {"phase": "Running", "podIP": f"10.0.0.{index + 1}", **what}
    return Pod(
        metadata=Meta(name=f"p-{index}", annotations={INDEX: str(index)}),
        spec=PodSpec(nodeName="" if "conditions" in status else "node"),
        status=PodStatus(**status),
    )


def unschedulable(index: int) -> Pod:
    message = "0/2 nodes are available: 2 Insufficient cpu. preemption: no."
    no_node = Condition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    return pod(index, phase="Pending", podIP="", conditions=[no_node])


def test_nodes_that_pods_wait_for_are_on_their_way() -> None:
    state = read_state([pod(0), unschedulable(1), unschedulable(2)], 3)
    assert (state.address, state.there, state.provisioning) == ("10.0.0.1", 1, 2)
    assert state.text == "2 nodes: no node has room: 2 Insufficient cpu"


def test_a_pod_behind_one_that_does_not_run_is_not_there() -> None:
    assert read_state([pod(0), unschedulable(1), pod(2)], 3).there == 1


def test_pods_beyond_the_size_and_those_that_go_do_not_count() -> None:
    going = pod(1)
    going.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    assert read_state([pod(0), going, pod(2)], 2).there == 1
