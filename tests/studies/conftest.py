from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.studies.mpis import KINDS, Mpi, missing, of_kind


@pytest.fixture(scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def _compiled_tools_are_kept_for_the_session_only(_cache: Path) -> Iterator[None]:
    # only while tests of this folder run: the programs of a Kubernetes for other tests are in the real cache
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(_cache))
        yield


@pytest.fixture(scope="session", params=KINDS)
def mpi(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mpi:
    """Each MPI there is to test with, from Debian's packages and from PyPI's."""
    found = of_kind(request.param, lambda: tmp_path_factory.mktemp("mpi"))
    if reason := missing(found):
        pytest.skip(reason)
    return found
