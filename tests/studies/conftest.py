from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.studies.mpis import KINDS, Mpi, missing, of_kind


@pytest.fixture(scope="session", autouse=True)
def _compiled_tools_are_kept_for_the_session_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", params=KINDS)
def mpi(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mpi:
    """Each MPI there is to test with, from Debian's packages and from PyPI's."""
    found = of_kind(request.param, lambda: tmp_path_factory.mktemp("mpi"))
    if reason := missing(found):
        pytest.skip(reason)
    return found
