"""The real Slurm that the tests of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.testing import MemberHarness
from tests.slurm.cluster import Harness, enter, leave, missing


@pytest.fixture
def cluster() -> Iterator[Path]:
    if missing():
        pytest.skip(missing())
    yield Path(enter())
    leave()


@pytest.fixture
def harness(cluster: Path, tmp_path: Path) -> MemberHarness:
    return Harness(tmp_path)
