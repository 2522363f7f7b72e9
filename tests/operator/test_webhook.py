"""`kubectl apply` refuses a bad Ensemble with the reasons of `ensemble check`."""

import base64

import pytest

from ensemble.operator.webhook import review
from tests.operator.running import NAME, until
from tests.operator.test_operator import HELLO


def asked(spec, old=None, **status):
    request = {"uid": "1", "operation": "CREATE", "object": {"metadata": {"name": "it"}, "spec": spec}}
    if old is not None:
        before = {"metadata": {"name": "it"}, "spec": old, "status": status}
        request |= {"operation": "UPDATE", "oldObject": before}
    return review(request)


GOOD = {"members": [{"job": {"image": "x"}}], **HELLO}


def test_a_good_one_is_allowed():
    assert asked(GOOD) == {"uid": "1", "allowed": True}


def test_a_bad_one_is_refused_with_path_and_nearest_name():
    answer = asked({**GOOD, "rules": [{"trigger": "job-finish", "name": "helo", "action": "terminate"}]})
    assert not answer["allowed"]
    assert "spec.rules[0].name: there is no group 'helo'. Did you mean hello?" in answer["status"]["message"]


def test_jobs_without_an_image_are_refused():
    answer = asked({**GOOD, "members": [{"job": {}}]})
    assert "no member can run group 'hello', because its jobs have no image" in answer["status"]["message"]


def test_what_looks_like_a_mistake_is_a_warning():
    rule = {"trigger": "metric", "name": "count.hello.success", "when": 99, "action": "terminate"}
    answer = asked({**GOOD, "rules": [rule]})
    assert answer["allowed"]
    assert answer["warnings"]


def test_an_edit_that_a_run_cannot_follow_is_refused_once_it_has_begun():
    other = {**GOOD, "jobs": [*HELLO["jobs"], {"name": "more", "command": "true"}]}
    assert asked(other, GOOD)["allowed"]
    refused = asked(other, GOOD, run="it-01234")
    assert "spec.jobs: " in refused["status"]["message"]
    assert asked(other, GOOD, run="it-01234", completionTime="2026-11-24T00:00:00Z")["allowed"]


def test_a_very_wrong_one_is_refused_in_a_message_of_bounded_length():
    jobs = [{"name": f"a{n}", "command": "x", "nods": 1} for n in range(500)]
    assert len(asked({**GOOD, "jobs": jobs})["status"]["message"]) < 10_000


@pytest.mark.parametrize("spec", [None, [], "text", {}, {"members": None}, {"members": {}}, {"members": [None]}])
def test_nonsense_is_refused_in_words(spec):
    assert asked(spec)["status"]["message"]


def test_kubectl_apply_is_refused_by_the_webhook(world):
    world.operator(*world.webhook()).says("serving https")
    world.namespace.apply(world.ensemble("good", **HELLO))
    bad = {**HELLO, "jobs": [{"name": "hello", "command": "x", "walltme": "5m"}]}
    with pytest.raises(AssertionError, match=r"spec\.jobs\[0\]\.walltme: 'walltme' is not a key here\. Did you mean"):
        world.namespace.apply(world.ensemble("bad", **bad))
    assert world.find("ensemble", "bad") is None


def test_a_certificate_that_is_due_is_replaced_and_the_old_authority_kept(world):
    options = world.webhook()
    first = world.operator(*options)
    first.says("serving https")
    before = world.find("secret", NAME)["data"]
    first.stop()
    world.namespace.kubectl("patch", "secret", NAME, "--type=merge", "-p", '{"data": {"renew": "MA=="}}')
    world.operator(*options).says("a new certificate")
    until(lambda: world.find("secret", NAME)["data"]["tls.crt"] != before["tls.crt"], what="the new certificate")
    bundle = base64.b64decode(world.find("secret", NAME)["data"]["ca.crt"])
    assert bundle.startswith(base64.b64decode(before["ca.crt"]))
    assert bundle.count(b"BEGIN CERTIFICATE") == 2
    world.namespace.apply(world.ensemble("good", **HELLO))
