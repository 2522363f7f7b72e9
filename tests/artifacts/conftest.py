import json
import shutil

import pytest

from tests.artifacts.registry import Registry
from tests.runs.world import Here

FILE = """
name: bag
seed: 3
jobs:
  - name: work
    command: "echo figure=$SIZE; echo $TOKEN > token.txt; ln -s token.txt link; ln -s /etc outside"
    shell: true
    parameters: {size: [1, 2]}
    env: {SIZE: "{size}", TOKEN: 'hunter2 "and" more'}
    secret: [TOKEN]
    outputs: {figure: "figure=(.*)"}
  - {name: more, command: "true"}
rules:
  - trigger: job-finish
    name: work
    action: {name: submit, label: more}
"""


class Saver(Here):
    """A directory with a run, and the verbs that save and fetch it."""

    def json(self, *args, code=0):
        return json.loads(self(*args, "--output", "json", code=code))


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """One registry for all tests that do not harm it."""
    one = Registry(tmp_path_factory.mktemp("registry"))
    yield one
    one.stop()


@pytest.fixture
def registry(tmp_path):
    """A registry of the test's own."""
    one = Registry(tmp_path / "registry")
    yield one
    one.stop()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A directory with the run `bag-1`, which is over."""
    where = tmp_path_factory.mktemp("made")
    (where / "bag.yaml").write_text(FILE)
    Here(where)("run", "bag.yaml", "--output", "quiet")
    return where


@pytest.fixture
def here(made, tmp_path):
    """A copy of that directory: the test's own."""
    shutil.copytree(made, tmp_path / "here", symlinks=True, ignore=shutil.ignore_patterns("home", "requests"))
    return Saver(tmp_path / "here")
