"""Every promise of the member contract as one class for pytest."""

from __future__ import annotations

__all__ = ["MemberConformance"]

from pathlib import Path
from typing import ClassVar

import pytest

from ensemble.testing.cancelling import CancelPromises
from ensemble.testing.closing import ClosePromises
from ensemble.testing.files import FilePromises
from ensemble.testing.harness import MemberHarness
from ensemble.testing.jobs import JobPromises
from ensemble.testing.loads import LoadPromises
from ensemble.testing.streams import StreamPromises


class MemberConformance(JobPromises, CancelPromises, StreamPromises, ClosePromises, FilePromises, LoadPromises):
    """Subclass it with the harness of a member; each test is one promise of `ensemble.members.contract`.

        class TestMine(MemberConformance):
            harness_type = MyHarness

    What a member has not among its capabilities is skipped, with the reason.
    """

    harness_type: ClassVar[type[MemberHarness]]

    @pytest.fixture
    def harness(self, tmp_path: Path) -> MemberHarness:
        """The harness of one test."""
        missing = self.harness_type.missing()
        if missing:
            pytest.skip(missing)
        return self.harness_type(tmp_path)
