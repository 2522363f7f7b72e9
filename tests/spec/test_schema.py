"""The JSON Schema takes what the loader takes, and no key that it does not know."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.model.errors import InputError
from ensemble.spec.loader import loads
from ensemble.spec.schema import schema
from ensemble.spec.units import parse_duration, parse_price
from tests.ensemble_files import ENSEMBLE_FILES

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema (dev group) is not installed")

ROOT = Path(__file__).parents[2]
FILES = ENSEMBLE_FILES
MISSPELT = sorted((ROOT / "tests" / "bad").glob("key-*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(schema())
DEFINITIONS = {"": schema(), **schema()["$defs"]}


def problems(data):
    return [error.message for error in VALIDATOR.iter_errors(data)]


def one(job=None, **rest):
    return {"jobs": [{"name": "a", "command": "x", **(job or {})}], **rest}


def rule(**keys):
    return one(rules=[{"trigger": "start", "action": {"name": "submit", "label": "a"}, **keys}])


def test_it_is_a_json_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(json.dumps(schema())))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_example_is_valid(file):
    assert problems(yaml.safe_load(file.read_text())) == []


@pytest.mark.parametrize("file", MISSPELT, ids=lambda file: file.stem)
def test_a_key_that_the_loader_does_not_know_is_refused(file):
    assert problems(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("name", DEFINITIONS)
def test_no_mapping_of_fixed_keys_takes_another(name):
    assert DEFINITIONS[name]["additionalProperties"] is False


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_key_is_described(name):
    undescribed = [key for key, one in DEFINITIONS[name]["properties"].items() if not one.get("description")]
    assert undescribed == []


@pytest.mark.parametrize(
    "data",
    [
        one({"walltime": 90}),
        one({"walltime": "1h30m"}),
        one({"walltime": "0:20:00"}),
        one({"walltime": "{N}m", "parameters": {"N": [1, 2]}}),
        one({"duration": "2 hours"}),
        one({"tasks": "{N * 32}", "parameters": {"N": [1, 2]}}),
        one({"retries": 3}),
        one({"retries": {"limit": 3, "reasons": "exit", "delay": "5s", "elsewhere": True}}),
        one({"outputs": {"y": "y (.*)"}}),
        one({"outputs": {"y": {"from": "y.json", "pointer": "/y", "required": True}}}),
        one({"env": {"N": 3}}),
        one({"inputs": [{"to": "a.in", "text": "x"}]}),
        one(members={"local": None}),
        one(members={"far": "simulated", "near": {"kind": "local", "nodes": {"min": 1, "max": 4}}}),
        one(members={"local": {"price": "0.41 USD/node-hour"}}),
        one(algorithm="shuffle"),
        one({"walltime": 60}, limits={"cost": "5 USD", "walltime": "1h", "jobs": 3}),
        rule(),
        rule(action="terminate"),
        rule(trigger="interval", seconds="1m"),
        rule(trigger="job-native-alloc"),
        rule(trigger="job-alloc"),
        rule(trigger="member-down"),
        rule(trigger="metric", name="count.a.success", when=3),
        rule(action={"name": "submit", "label": "a", "repetitions": "unlimited", "cooldown": "1m"}),
        rule(action={"name": "add-rule", "rule": {"trigger": "idle", "action": "stop"}}),
    ],
    ids=lambda data: json.dumps(data)[:70],
)
def test_what_the_loader_takes_is_valid(data):
    loads(json.dumps(data))
    assert problems(data) == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"jobs": []},
        one({"walltime": "soon"}),
        one({"walltime": "20:00"}),
        one({"walltime": -1}),
        one({"count": 0}),
        one({"count": "many"}),
        one({"tasks": "many"}),
        one({"launcher": "mpirun"}),
        one({"order": "sorted"}),
        one({"keep": "some"}),
        one({"max_running": 0}),
        one({"retries": {"limit": 1, "reasons": ["cosmic-ray"]}}),
        one({"retries": {"limt": 1}}),
        one({"outputs": {"y": {"pattern": "(.)", "takes": "last"}}}),
        one({"outputs": {"y z": "(.)"}}),
        one({"inputs": [{"pth": "a"}]}),
        one({"name": "a/b"}),
        one(members={"local": {"node": 3}}),
        one(members={"local": {"nodes": {"minimum": 3}}}),
        one(members={"local": {"price": "cheap"}}),
        one(limits={"jobs": 0}),
        one(limits={"job": 3}),
        one(limits={"on_limit": "explode"}),
        one(seed=-1),
        rule(trigger="whenever"),
        rule(action="explode"),
        rule(action={"name": "submit", "label": "a", "repetitions": 0}),
        rule(action={"name": "submit", "label": "a", "lable": "a"}),
        rule(action={"name": "submit", "label": "a", "cooldown": "a while"}),
        rule(action={"name": "cancel", "label": "a", "states": ["asleep"]}),
    ],
    ids=lambda data: json.dumps(data)[:70],
)
def test_what_the_schema_refuses_the_loader_refuses_too(data):
    assert problems(data)
    with pytest.raises(InputError):
        loads(json.dumps(data))


TEXT = st.one_of(
    st.text(alphabet="0123456789.smhd -:eU/", max_size=12),
    st.sampled_from(["90s", "20m", "1h30m", "0:20:00", "1-00:00:00", "2 hours", "0.41 USD/node-hour", "3 EUR", "5/h"]),
)


@given(TEXT)
@settings(max_examples=400, deadline=None)
def test_a_duration_or_price_that_is_read_is_valid(text):
    shapes = schema()["$defs"]
    for read, shape in (
        (parse_duration, shapes["RetrySpec"]["properties"]["delay"]),
        (parse_price, shapes["MemberSpec"]["properties"]["price"]),
    ):
        try:
            read(text)
        except InputError:
            continue
        assert jsonschema.Draft202012Validator(shape).is_valid(text), text
