"""1,000 x `true` through the ensemble, journal on, against one plain array job of the same size on the same Slurm, one after
the other in the same run: jobs per second and their ratio. Needs a Slurm (`scripts/slurm-cluster start`)."""

import asyncio
import subprocess
import sys
import tempfile
import time

from ensemble.runtime import RunOptions, run
from ensemble.spec.loader import loads

JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


def plain():
    began = time.perf_counter()
    words = ["sbatch", "--wait", f"--array=0-{JOBS - 1}", "--output=/dev/null"]
    subprocess.run(words, input="#!/bin/sh\ntrue\n", text=True, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ours(folder):
    spec = loads(f"members: {{slurm: {{kind: slurm}}}}\njobs: [{{name: t, command: 'true', count: {JOBS}}}]")
    began = time.perf_counter()
    result = asyncio.run(run(spec, RunOptions(run_dir=f"{folder}/run"), []))
    assert result.outcome == "success", result
    return time.perf_counter() - began


with tempfile.TemporaryDirectory() as folder:
    ensemble, array = ours(folder), plain()
    print(
        f"{JOBS} x true: ensemble {JOBS / ensemble:.1f}/s, plain array {JOBS / array:.1f}/s, ratio {array / ensemble:.2f}"
    )
