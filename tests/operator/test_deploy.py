"""What installs the operator is rendered from one source, and says what the least rights are."""

import importlib.util
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.cluster import missing, shared

ROOT = Path(__file__).parents[2]


def renderer():
    spec = importlib.util.spec_from_file_location("render", ROOT / "deploy" / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RENDER = renderer()
NAME = "ensemble-operator"


def documents(text):
    return {
        (one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text) if one["kind"] != "Namespace"
    }


def plain():
    return documents((ROOT / "examples/dist/ensemble-operator.yaml").read_text())


def program(name):
    if missing():
        pytest.skip(missing())
    return str(shared().programs / name)


@pytest.mark.parametrize("name", sorted(RENDER.rendered()))
def test_a_rendered_file_is_up_to_date(name):
    assert (ROOT / name).read_text() == RENDER.rendered()[name], "run `python deploy/render.py`"


def test_kustomize_renders_the_same():
    done = subprocess.run(
        [program("kustomize"), "build", ROOT / "deploy/kustomize"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert documents(done.stdout) == plain()


def test_helm_renders_the_same():
    command = [program("helm"), "template", "it", ROOT / "deploy/helm/ensemble-operator", "--include-crds"]
    command.append("--namespace=ensemble-operator-system")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert documents(done.stdout) == plain()


def rules():
    for (kind, name), one in plain().items():
        for rule in one.get("rules", ()) if kind in ("Role", "ClusterRole") else ():
            yield name, kind, rule


def test_every_kind_of_member_has_a_role_that_the_operator_may_bind():
    from ensemble.operator.deployment import kinds_of_members
    from ensemble.operator.resource import KINDS

    bound = [rule["resourceNames"] for name, _, rule in rules() if name == NAME and "bind" in rule["verbs"]]
    assert set(kinds_of_members()) == set(KINDS.values())
    assert bound == [[f"ensemble-member-{kind}" for kind in kinds_of_members()]]


def test_no_rule_has_a_wildcard():
    assert not [rule for *_, rule in rules() if "*" in str(rule)]


def test_the_operator_reads_no_secret_but_its_own():
    secrets = [rule for name, _, rule in rules() if name == "ensemble-operator" and "secrets" in rule["resources"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in secrets] == [
        (["create"], None),
        (["get", "patch"], ["ensemble-operator"]),
    ]
    assert not [rule for name, kind, rule in rules() if name == "ensemble-operator" and kind == "ClusterRole" and
                "secrets" in rule["resources"]]  # fmt: skip


def test_every_container_is_restricted():
    pod = plain()["Deployment", "ensemble-operator"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert all(one["securityContext"]["capabilities"] == {"drop": ["ALL"]} for one in pod["containers"])


def test_the_reference_in_the_documents_is_up_to_date():
    from ensemble.operator.resource import reference

    text = (ROOT / "docs/operator.md").read_text()
    found = text.partition("<!-- reference: begin -->\n")[2].partition("<!-- reference: end -->")[0]
    assert found == reference(), "put what `ensemble-operator reference` prints there"
