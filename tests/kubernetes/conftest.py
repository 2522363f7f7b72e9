"""The real Kubernetes that the tests of this folder use, and a namespace for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kubernetes.cluster import IMAGE, Cluster, Namespace, missing, shared, with_image


@pytest.fixture
def cluster() -> Cluster:
    if missing():
        pytest.skip(missing())
    return shared()


@pytest.fixture
def image(cluster: Cluster) -> str:
    """The name of Ensemble's own image, made from this tree and put on the real node."""
    with_image()
    return IMAGE


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with cluster.namespace(request.node.name.removeprefix("test_")) as made:
        yield made
