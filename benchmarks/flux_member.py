"""1,000 x `true` through the ensemble, journal on, against `flux submit --cc=1-1000` in the same Flux, in turns in the same run:
jobs per second and their ratio. Run it inside an instance: `flux start --test-size=2 python benchmarks/flux_member.py`."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time

from ensemble.runtime import RunOptions, run
from ensemble.spec.loader import loads

JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
TURNS = int(sys.argv[2]) if len(sys.argv) > 2 else 3


def plain(folder):
    words = ["flux", "submit", "--quiet", "--wait", f"--cc=1-{JOBS}", f"--output={folder}/plain-{{cc}}", "true"]
    began = time.perf_counter()
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def ours(folder):
    spec = loads(f"members: {{flux: {{kind: flux}}}}\njobs: [{{name: t, command: 'true', count: {JOBS}}}]")
    began = time.perf_counter()
    result = asyncio.run(run(spec, RunOptions(run_dir=f"{folder}/run"), []))
    assert result.outcome == "success", result
    return time.perf_counter() - began


ratios = []
for turn in range(TURNS):
    with tempfile.TemporaryDirectory() as folder:
        pair = (plain(folder), ours(folder)) if turn % 2 else (ours(folder), plain(folder))[::-1]
    ratios.append(pair[0] / pair[1])
    print(
        f"{JOBS} x true: flux submit --cc {JOBS / pair[0]:.1f}/s, ensemble {JOBS / pair[1]:.1f}/s, ratio {ratios[-1]:.2f}"
    )
print(f"median ratio {statistics.median(ratios):.2f} (reach: 0.95)")
