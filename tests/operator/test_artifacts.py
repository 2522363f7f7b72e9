"""`spec.artifacts`: a run that is over is pushed, verified and only then cleaned up, on a real cluster."""

import json
from urllib.parse import urlsplit

import pytest
import yaml

from ensemble.artifacts.fetching import look_at
from tests.artifacts.registry import Registry
from tests.artifacts.test_signing_in import PASSWORD, auth, for_ann_alone
from tests.kubernetes.conftest import image  # noqa: F401 - a fixture
from tests.operator.running import until
from tests.operator.test_operator import HELLO


@pytest.fixture
def registry(tmp_path):
    one = Registry(tmp_path / "registry")
    yield one
    one.stop()


def test_a_run_is_pushed_verified_and_cleaned_up(world, registry):
    world.operator()
    artifacts = {"push": f"{registry.host}/study:mine", "clean": True}
    world.namespace.apply(world.ensemble("it", **HELLO, artifacts=artifacts))
    world.serve("it")
    world.phase("it", "Completed")
    until(lambda: world.condition("it", "CleanedUp").get("status") == "True", what=f"{world.status('it')}")
    for kind in ("Completed", "Pushed", "Verified"):
        assert world.condition("it", kind)["status"] == "True", kind
    until(lambda: world.find("deployment", "it-ensemble") is None, what="the end of the service pod")
    # the object stays, and says where the run is
    where = world.status("it")["artifact"]
    assert world.condition("it", "CleanedUp")["message"] == f"the run is at {where}"
    with look_at(where) as (run, found):
        assert not run.verify().difference
        assert [row["success"] for row in run.results("point")] == [3, 1]
    assert found.annotations["org.flux-framework.ensemble.environment"] == "job"
    assert "mine" in registry.tags("study")


def test_nothing_is_cleaned_up_before_the_registry_has_it(world, registry):
    registry.stop()
    world.operator()
    artifacts = {"push": f"{registry.host}/study", "clean": True}
    world.namespace.apply(world.ensemble("it", **HELLO, artifacts=artifacts, ttlSecondsAfterFinished=0))
    world.serve("it")
    until(lambda: world.condition("it", "Pushed").get("reason") == "PushFailed", 120, f"{world.status('it')}")
    assert "cannot be reached" in world.condition("it", "Pushed")["message"]
    assert world.status("it")["phase"] == "Completed"
    assert world.find("deployment", "it-ensemble") is not None
    registry.start()
    # its time is over too, which waits for the same
    until(lambda: world.find("ensemble", "it") is None, 120, "the end of the Ensemble")
    (tag,) = registry.tags("study")
    with look_at(f"{registry.host}/study:{tag}") as (run, _):
        assert run.info().outcome == "success"


def test_a_real_service_pod_signs_in_and_saves_its_run(world, image, tmp_path):  # noqa: F811
    kubeconfig = yaml.safe_load(world.namespace.cluster.kubeconfig.read_text())
    # where pods reach this machine
    address = urlsplit(kubeconfig["clusters"][0]["cluster"]["server"]).hostname
    registry = Registry(tmp_path / "registry", address, auth=for_ann_alone(tmp_path))
    try:
        login = json.dumps({"auths": {registry.host: auth("ann", PASSWORD)}})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}}
        secret |= {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": login}}
        world.namespace.apply(secret)
        world.operator(f"--image={image}")
        artifacts = {"push": f"{registry.host}/study", "plainHTTP": True, "credentials": "login", "clean": True}
        service = {"image": image, "imagePullPolicy": "Never"}
        world.namespace.apply(world.ensemble("it", **HELLO, artifacts=artifacts, service=service))
        until(lambda: world.condition("it", "CleanedUp").get("status") == "True", 180, "CleanedUp")
        assert world.status("it")["artifact"].startswith(f"{registry.host}/study:it-hello-again-t1-job-")
    finally:
        registry.stop()
