"""What the accounts may do, asked of the API server."""

import json

import pytest

from tests.operator.running import NAME, until
from tests.operator.test_operator import HELLO


def may(world, account, *words):
    user = f"--as=system:serviceaccount:{world.namespace.name}:{account}"
    try:
        return world.namespace.kubectl("auth", "can-i", *words, user).strip() == "yes"
    except AssertionError:
        return False


def rights(world, account):
    user = f"system:serviceaccount:{world.namespace.name}:{account}"
    review = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": world.namespace.name},
    }  # fmt: skip
    found = world.namespace.kubectl(
        "create",
        "--validate=false",
        "-f",
        "-",
        "-o",
        "json",
        f"--as={user}",
        "--as-group=system:authenticated",
        given=json.dumps(review),
    )
    return json.loads(found)["status"]["resourceRules"]


@pytest.fixture
def installed(world):
    world.operator()
    world.namespace.apply(world.ensemble("it", **HELLO))
    until(lambda: world.find("deployment", "it-ensemble"), what="the Deployment")
    return world


def test_no_account_has_a_wildcard(installed):
    for account in (NAME, "it-ensemble"):
        assert "*" not in str(rights(installed, account))


def test_a_service_pod_may_write_its_own_status_and_no_other(installed):
    assert may(installed, "it-ensemble", "patch", "ensembles/it", "--subresource=status")
    assert not may(installed, "it-ensemble", "patch", "ensembles/other", "--subresource=status")
    assert not may(installed, "it-ensemble", "get", "secrets")
    assert not may(installed, "it-ensemble", "create", "pods")
    assert may(installed, "it-ensemble", "create", "jobs.batch")
    assert not may(installed, "it-ensemble", "create", "jobsets.jobset.x-k8s.io")


def test_the_operator_has_no_right_of_a_member_but_to_bind_it(installed):
    assert not may(installed, NAME, "create", "jobs.batch")
    assert not may(installed, NAME, "create", "pods/exec")
    assert not may(installed, NAME, "get", "secrets/other")
    assert may(installed, NAME, "get", f"secrets/{NAME}")
    assert may(installed, NAME, "bind", "clusterroles.rbac.authorization.k8s.io/ensemble-member-job")
    assert not may(installed, NAME, "bind", "clusterroles.rbac.authorization.k8s.io/cluster-admin")
