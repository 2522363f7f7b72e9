"""The public conformance suite for members: what third parties run from their own package (needs pytest).

Subclass `MemberHarness` to say how the member and its jobs are made, and `MemberConformance` to have the tests.
Imports anything; nothing but tests imports it.
"""

import pytest

for _module in ("bench", "jobs", "cancelling", "streams", "closing", "files", "loads"):
    pytest.register_assert_rewrite(f"ensemble.testing.{_module}")

from ensemble.testing.bench import Bench, RecordingSink, live  # noqa: E402 - asserts are rewritten on import
from ensemble.testing.conformance import MemberConformance  # noqa: E402
from ensemble.testing.harness import Do, MemberHarness  # noqa: E402

__all__ = ["Bench", "Do", "MemberConformance", "MemberHarness", "RecordingSink", "live"]
