"""An operator in a namespace of the test's own, in a real cluster."""

import pytest

from tests.kubernetes.conftest import cluster, namespace  # noqa: F401 - fixtures
from tests.operator.running import world as make


@pytest.fixture
def world(namespace, tmp_path):  # noqa: F811
    with make(namespace, tmp_path) as found:
        yield found
