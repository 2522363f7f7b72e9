"""What a person waits for besides the work: `ensemble --help`, and a run of one job, each against the bare thing."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7


def seconds(words, **options):
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, **options)
    return time.perf_counter() - began


def medians(*commands):
    found = [[] for _ in commands]
    for _ in range(ROUNDS):
        for times, command in zip(found, commands, strict=True):
            times.append(seconds(command))
    return [statistics.median(times) for times in found]


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["ENSEMBLE_HOME"] = folder + "/home"
        Path("one.yaml").write_text("jobs: [{name: one, command: sleep 0.2}]\n")
        ensemble = [sys.executable, "-m", "ensemble"]
        helped, python = medians([*ensemble, "--help"], [sys.executable, "-c", "pass"])
        print(f"startup: medians of {ROUNDS} interleaved rounds")
        print(
            f"  ensemble --help: {helped:.3f} s, {helped / python:.1f} x `python -c pass` ({python:.3f} s); to reach 0.15 s"
        )
        ran, bare = medians([*ensemble, "run", "one.yaml"], ["sleep", "0.2"])
        print(
            f"  a run of one job: {ran:.3f} s, {ran - bare:.3f} s more than the job alone ({bare:.3f} s); to reach 0.5 s"
        )


if __name__ == "__main__":
    main()
