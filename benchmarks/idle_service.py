"""Idle ensembles on one server, their members not connected: memory and processor time of the server.

python benchmarks/idle_service.py [ENSEMBLES] [SECONDS]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ensemble.runs import Submission, open_runs

FILE = "name: idle\nmembers: {far: {kind: remote}}\njobs:\n  - {name: work, command: 'true'}\n"


def spent(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def begin(address: str, file: str, count: int) -> None:
    with open_runs(address) as runs:
        for _ in range(count):
            runs.submit(Submission(file, detach=True))


def idle(address: str) -> int:
    """How many of them have a run that has begun and goes on."""
    with open_runs(address) as runs:
        return sum(1 for run in runs.list() if run.state == "running")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    with tempfile.TemporaryDirectory() as where:
        file, address = f"{where}/idle.yaml", f"unix:{where}/s"
        Path(file).write_text(FILE)
        server = subprocess.Popen(
            [sys.executable, "-m", "ensemble.service.main", "start", "--listen", address, "--state", f"{where}/state"],
            env={**os.environ, "ENSEMBLE_HOME": f"{where}/home"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert server.stdout is not None
            server.stdout.readline()
            empty, begun = resident(server.pid), time.monotonic()
            begin(address, file, count)
            print(f"{count} ensembles begun in {time.monotonic() - begun:.1f} s")
            time.sleep(5)
            cpu, begun = spent(server.pid), time.monotonic()
            time.sleep(seconds)
            share = (spent(server.pid) - cpu) / (time.monotonic() - begun)
            assert idle(address) == count
            full = resident(server.pid)
            print(f"memory {full:.0f} MiB ({empty:.0f} MiB without any): {full / 1024:.2f} of the 1 GiB to reach")
            print(f"processor {share:.1%} of a core: {share / 0.05:.2f} of the 5 % to reach")
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    main()
