"""A remote member keeps the contract through both doors."""

from __future__ import annotations

import pytest

pytest.importorskip("grpc", reason="the extra `service` is not installed here")

from ensemble.testing import MemberConformance
from tests.members.remote import DiallingHarness, ListeningHarness


class TestListening(MemberConformance):
    harness_type = ListeningHarness


class TestDialling(MemberConformance):
    harness_type = DiallingHarness
