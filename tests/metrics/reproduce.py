"""Run by `test_metrics_reproducible.py` under each Python: prints a digest of every bit of every result.

Uses nothing but the folder `metrics`, so that a Python without our dependencies can run it.
"""

import hashlib
import json
import sys
from math import ldexp
from types import ModuleType

package = ModuleType("ensemble")  # the real one may import what this Python has not got
package.__path__ = [sys.argv[1]]
sys.modules["ensemble"] = package

from ensemble.metrics import STATISTICS, PendingSeries, Series  # noqa: E402


def stream(count, state=20261120):
    """A 64-bit linear congruential generator: integers only, the same everywhere."""
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 11  # 53 bits: exact as a float


def main() -> None:
    parts = []
    for kind in ("time", "wide", "signed", "edges"):
        series = Series()
        other = Series()
        for number, bits in enumerate(stream(5000)):
            value = {
                "time": bits / 2**53 * 100.0,
                "wide": ldexp(bits / 2**53, bits % 400 - 200),
                "signed": bits / 2**53 - 0.5,
                "edges": ldexp(1.0, bits % 60 - 30),
            }[kind]
            (other if number % 3 == 0 else series).add(value)
            if number % 501 == 0:
                parts.append([series.stat(name) for name in STATISTICS])
        series.merge(other)
        parts.append([series.stat(name) for name in STATISTICS])
        parts.append(series.state())
    pending = PendingSeries()
    entered = []
    for bits in stream(2000):
        now = 1.79e9 + len(entered) + bits % 1000 / 1000
        pending.enter(now)
        entered.append(now)
        if bits % 2:
            since = entered.pop(bits % len(entered))
            pending.finish(since, now - since)
    parts.append([pending.stat(name, 1.79e9 + 5000) for name in STATISTICS])
    parts.append(pending.state())
    print(hashlib.sha256(json.dumps(parts, allow_nan=False).encode()).hexdigest())


main()
