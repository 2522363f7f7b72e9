"""1,000 x `true` through the ensemble, journal on, against one plain array job of the same size on the same Slurm, in
turns in the same run: jobs per second and their ratio. Needs a Slurm (`scripts/slurm-cluster start`)."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ensemble.runtime import RunOptions, run
from ensemble.spec.loader import loads

JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
TURNS = int(sys.argv[2]) if len(sys.argv) > 2 else 4


def plain(folder):
    # by a line of each task: `sbatch --wait` looks only every ten seconds
    ends = Path(folder) / "ends"
    ends.touch()
    words = ["sbatch", f"--array=0-{JOBS - 1}", "--output=/dev/null"]
    script = f"#!/bin/sh\ntrue\necho >> {ends}\n"
    began = time.perf_counter()
    subprocess.run(words, input=script, text=True, check=True, stdout=subprocess.DEVNULL)
    while ends.stat().st_size < JOBS:
        time.sleep(0.02)
    return time.perf_counter() - began


def ours(folder):
    spec = loads(f"members: {{slurm: {{kind: slurm}}}}\njobs: [{{name: t, command: 'true', count: {JOBS}}}]")
    began = time.perf_counter()
    result = asyncio.run(run(spec, RunOptions(run_dir=f"{folder}/run"), []))
    assert result.outcome == "success", result
    return time.perf_counter() - began


ratios = []
for turn in range(TURNS):
    # who goes first alternates: the controller is slower with many finished jobs in its memory
    with tempfile.TemporaryDirectory() as folder:
        pair = (plain(folder), ours(folder)) if turn % 2 else (ours(folder), plain(folder))[::-1]
    ratios.append(pair[0] / pair[1])
    print(f"{JOBS} x true: plain array {JOBS / pair[0]:.1f}/s, ensemble {JOBS / pair[1]:.1f}/s, ratio {ratios[-1]:.2f}")
print(f"median ratio {statistics.median(ratios):.2f} (reach: 0.90)")
