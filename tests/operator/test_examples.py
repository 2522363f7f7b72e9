"""Every example is an Ensemble in which nothing looks like a mistake, and which its own definition admits."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from ensemble.operator.conversion import convert
from ensemble.operator.crd import crd
from ensemble.operator.resource import GROUP, KIND, VERSION

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "kubernetes").glob("*/ensemble.yaml"))


def schema():
    return crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.parent.name for path in EXAMPLES])
def test_an_example_is_an_ensemble(path):
    (found,) = yaml.safe_load_all(path.read_text())
    assert (found["apiVersion"], found["kind"]) == (f"{GROUP}/{VERSION}", KIND)
    assert found["metadata"]["name"] == path.parent.name
    assert convert(found["metadata"]["name"], found["spec"]).warnings == ()
    jsonschema.validate(found, schema())


def test_there_is_an_example_for_every_kind_of_member():
    kinds = {
        member.kind
        for path in EXAMPLES
        for member in convert("it", yaml.safe_load(path.read_text())["spec"]).ensemble.members.values()
    }
    assert kinds == {"job", "jobset", "leaderworkerset", "minicluster"}
