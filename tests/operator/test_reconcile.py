"""What is decided about an Ensemble, for everything that may be seen of it."""

import pytest
from msgspec.structs import replace

from ensemble.operator.conversion import ObjectError, convert
from ensemble.operator.manifests import Settings
from ensemble.operator.naming import DIGEST, Identity
from ensemble.operator.reconcile import Apply, Mark, Observed, Remove, ServiceState, Wake, WriteStatus, reconcile

IMAGE = "ensemble:1"
MEMBER = {"minicluster": {"spec": {"size": 1, "containers": [{"image": "lammps"}]}}}


def seen(spec=(), **changes):
    data = {"members": [MEMBER], "jobs": [{"name": "hello", "command": "echo"}], **dict(spec)}
    found = Observed(
        identity=Identity("space", "it", "0123456789"),
        generation=1,
        read=convert("it", data, check=False),
        file="jobs: []",
        status={},
        settings=Settings(IMAGE),
        now=1_000.0,
    )
    return replace(found, **changes)


def made(found):
    """The service that this would make, as it is seen later."""
    deployment = [one.manifest for one in reconcile(found) if isinstance(one, Apply)][-1]
    return ServiceState(deployment["metadata"]["annotations"][DIGEST], IMAGE, ready=True, since=990.0)


def kinds(actions):
    return [one.manifest["kind"] if isinstance(one, Apply) else type(one).__name__ for one in actions]


def status(actions):
    return next(one for one in actions if isinstance(one, WriteStatus))


def reasons(actions):
    return {one.type: (one.status, one.reason) for one in status(actions).conditions}


ALL = [
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "RoleBinding",
    "ConfigMap",
    "NetworkPolicy",
    "Deployment",
    "WriteStatus",
]


def test_a_new_ensemble_gets_everything_and_the_deployment_comes_last():
    assert kinds(reconcile(seen())) == ALL


def test_nothing_is_made_again_when_everything_is_there():
    actions = reconcile(seen(service=made(seen())))
    assert kinds(actions) == ["WriteStatus"]
    assert reasons(actions) == {"Ready": (True, "ServiceReady")}


def test_an_edit_is_made_known_to_the_cluster():
    service = made(seen())
    assert "ConfigMap" in kinds(reconcile(seen(service=service, file="jobs: [changed]")))


def test_an_edit_of_a_run_that_has_begun_restarts_nothing():
    actions = reconcile(seen(service=made(seen()), file="jobs: [changed]", status={"run": "it-01234"}))
    assert kinds(actions)[-2:] == ["Mark", "WriteStatus"]
    assert "Deployment" not in kinds(actions)
    assert next(one for one in actions if isinstance(one, Mark)).name == "it-ensemble"


def test_an_upgrade_of_the_operator_leaves_the_service_pod_alone():
    assert kinds(reconcile(seen(service=made(seen()), settings=Settings("ensemble:2")))) == ["WriteStatus"]


def test_a_journal_on_a_volume_gets_a_claim_that_stays_when_asked():
    actions = reconcile(seen({"service": {"journal": {"size": "1Gi", "keep": True}}}))
    claim = next(one.manifest for one in actions if isinstance(one, Apply) and one.manifest["kind"].endswith("Claim"))
    assert "ownerReferences" not in claim["metadata"]


def test_everything_else_goes_with_the_ensemble():
    manifests = [one.manifest for one in reconcile(seen()) if isinstance(one, Apply)]
    assert all(one["metadata"]["ownerReferences"][0]["uid"] == "0123456789" for one in manifests)


def test_a_missing_controller_is_told_with_the_command_that_installs_it():
    actions = reconcile(seen(missing={"jobsets.jobset.x-k8s.io": "kubectl apply -f there"}))
    assert kinds(actions) == ["WriteStatus", "Wake"]
    assert reasons(actions)["Degraded"] == (True, "MissingController")
    assert "`kubectl apply -f there` installs it" in status(actions).fields["reason"]


def test_a_suspended_ensemble_does_not_begin():
    actions = reconcile(seen({"suspend": True}))
    assert kinds(actions) == ["WriteStatus"]
    assert status(actions).fields["phase"] == "Suspended"


def test_an_ensemble_that_makes_no_sense_has_failed():
    actions = reconcile(seen(read=ObjectError(["spec.jobs: no"])))
    assert reasons(actions)["Failed"] == (True, "Invalid")


def test_an_edit_that_makes_no_sense_stops_no_run():
    actions = reconcile(seen(read=ObjectError(["spec.jobs: no"]), status={"run": "it-01234"}, service=made(seen())))
    assert kinds(actions) == ["WriteStatus"]
    assert status(actions).fields == {}


def test_what_cannot_be_made_is_told_and_tried_again():
    actions = reconcile(seen(fault="Role it: forbidden"))
    assert kinds(actions)[-2:] == ["WriteStatus", "Wake"]
    assert reasons(actions)["Degraded"] == (True, "CannotBeMade")


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ({"trouble": "ErrImagePull: no such image"}, "ServicePodTrouble"),
        ({"since": 995.0}, "ServiceStarting"),
        ({"since": 0.0}, "ServiceNotReady"),
    ],
)
def test_why_a_service_pod_is_not_ready_is_told(service, told):
    actions = reconcile(seen(service=replace(made(seen()), ready=False, **service)))
    assert reasons(actions)["Ready"] == (False, told)


def test_what_a_stuck_service_pod_needs_is_made_again():
    stuck = replace(made(seen()), ready=False, trouble="CreateContainerConfigError: no ConfigMap")
    actions = reconcile(seen(service=stuck, status={"run": "it-01234"}))
    assert "ConfigMap" in kinds(actions)
    assert "Deployment" not in kinds(actions)


def test_a_finished_ensemble_is_removed_after_its_time():
    over = {"run": "it-01234", "completionTime": "1970-01-01T00:15:00Z"}  # 900 s
    spec = {"ttlSecondsAfterFinished": 150}
    service = made(seen(spec))
    assert kinds(reconcile(seen(spec, status=over, service=service))) == ["WriteStatus", "Wake"]
    assert Wake(50.0) in reconcile(seen(spec, status=over, service=service))
    assert [type(one) for one in reconcile(seen(spec, status=over, service=service, now=1_060.0))] == [Remove]
    assert Remove not in map(type, reconcile(seen(status=over, service=made(seen()), now=1e9)))


def test_nothing_is_made_for_an_ensemble_that_is_being_deleted():
    assert reconcile(seen(deleting=True)) == []


OVER = {"run": "it-01234", "completionTime": "1970-01-01T00:10:00Z"}
TRUE = {"status": "True", "observedGeneration": 1}
VERIFIED = {**OVER, "artifact": "here/study@1", "conditions": [{"type": "Verified", **TRUE}]}
SAVED = {"artifacts": {"push": "here/study", "clean": True}, "service": {"journal": {"size": "1Gi"}}}


def test_what_is_saved_is_cleaned_up_and_told():
    actions = reconcile(seen(SAVED, service=made(seen(SAVED)), status=VERIFIED))
    assert kinds(actions) == ["Delete", "Delete", "WriteStatus"]
    assert reasons(actions)["CleanedUp"] == (False, "CleaningUp")
    assert reasons(reconcile(seen(SAVED, status=VERIFIED))) == {
        "Ready": (False, "CleanedUp"),
        "CleanedUp": (True, "CleanedUp"),
    }


@pytest.mark.parametrize("ttl", [-1, 0])
def test_what_is_not_verified_is_not_cleaned_up(ttl):
    spec = {**SAVED, "ttlSecondsAfterFinished": ttl} if ttl >= 0 else SAVED
    assert kinds(reconcile(seen(spec, service=made(seen(spec)), status=OVER))) == ["WriteStatus"]


def test_what_was_verified_before_an_edit_is_not_cleaned_up():
    actions = reconcile(seen(SAVED, service=made(seen(SAVED)), status=VERIFIED, generation=2))
    assert kinds(actions) == ["WriteStatus"]


@pytest.mark.parametrize("artifacts", [SAVED["artifacts"], {"push": "here/other"}, {}])
def test_nothing_is_made_again_of_an_ensemble_that_was_cleaned_up(artifacts):
    status = {**VERIFIED, "conditions": [*VERIFIED["conditions"], {"type": "CleanedUp", **TRUE}]}
    assert reconcile(seen({**SAVED, "artifacts": artifacts}, status=status, generation=2)) == []


def test_a_volume_that_is_to_stay_outlives_the_cleaning():
    spec = {**SAVED, "service": {"journal": {"size": "1Gi", "keep": True}}}
    actions = reconcile(seen(spec, service=made(seen(spec)), status=VERIFIED))
    assert kinds(actions) == ["Delete", "WriteStatus"]


def test_credentials_of_a_registry_are_mounted_where_its_client_looks():
    spec = {"artifacts": {"push": "here/study", "credentials": "login"}}
    deployment = [one.manifest for one in reconcile(seen(spec)) if isinstance(one, Apply)][-1]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["volumes"][-1]["secret"]["secretName"] == "login"
    container = pod["containers"][0]
    assert {"name": "DOCKER_CONFIG", "value": container["volumeMounts"][-1]["mountPath"]} in container["env"]
