"""Jobs per second of `/bin/true` through the whole system, journal on, against a bare `os.posix_spawn` loop that makes
the same directory and output files, one after the other in the same run; and `xargs -P` where installed."""

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from ensemble.runtime import RunOptions, run
from ensemble.spec.loader import loads

JOBS = 2000
ROUNDS = 3


def bare(folder, slots):
    """Keep `slots` processes going; each has a directory and two files of its own."""
    environment = dict(os.environ)
    running = 0
    began = time.perf_counter()
    for number in range(JOBS):
        place = f"{folder}/job-{number}"
        os.mkdir(place)
        if running == slots:
            os.waitpid(-1, 0)
            running -= 1
        os.chdir(place)
        os.posix_spawn(
            "/bin/true",
            ["/bin/true"],
            environment,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "stdout", os.O_WRONLY | os.O_CREAT, 0o644),
                (os.POSIX_SPAWN_OPEN, 2, "stderr", os.O_WRONLY | os.O_CREAT, 0o644),
            ),
            setpgroup=0,
        )
        running += 1
    while running:
        os.waitpid(-1, 0)
        running -= 1
    return time.perf_counter() - began


def ours(folder, slots):
    """The time from the first start to the last end, as the journal has it: start-up is another benchmark."""
    spec = loads(
        f"members: {{local: {{nodes: 1, cores: {slots}}}}}\njobs: [{{name: t, command: /bin/true, count: {JOBS}}}]"
    )
    times = []

    def observe(record):
        if getattr(record.event, "key", ""):
            times.append(record.event.time)

    result = asyncio.run(run(spec, RunOptions(run_dir=f"{folder}/run"), [observe]))
    assert result.outcome == "success", result
    return max(times) - min(times)


def xargs(slots):
    began = time.perf_counter()
    subprocess.run(f"seq {JOBS} | xargs -P {slots} -I{{}} /bin/true", shell=True, check=True)
    return time.perf_counter() - began


def main():
    slots = len(os.sched_getaffinity(0))
    here = os.getcwd()
    print(f"local member: {JOBS} x /bin/true on {slots} cores, journal on; medians of {ROUNDS} interleaved rounds")
    times = {"bare posix_spawn loop": [], "ensemble": [], "xargs -P": []}
    for _ in range(ROUNDS):
        for name in times:
            folder = tempfile.mkdtemp(dir=here)
            try:
                if name == "ensemble":
                    times[name].append(ours(folder, slots))
                elif name == "xargs -P":
                    times[name].append(xargs(slots))
                else:
                    times[name].append(bare(folder, slots))
            finally:
                os.chdir(here)
                shutil.rmtree(folder, ignore_errors=True)
    base = statistics.median(times["bare posix_spawn loop"])
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"  {name:24} {JOBS / middle:>8,.0f} jobs/s  {base / middle:.2f} of the bare loop")
    for name in ("parallel", "hq"):
        if not shutil.which(name):
            print(f"  {name}: not installed, not compared")
    print("  (to reach: 0.80 of the bare loop)")


if __name__ == "__main__":
    os.environ.setdefault("ENSEMBLE_HOME", str(Path(tempfile.gettempdir()) / "ensemble-bench"))
    main()
