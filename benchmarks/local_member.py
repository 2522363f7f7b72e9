"""Jobs per second of `/bin/true` through the whole system, journal on, against a bare `os.posix_spawn` loop that makes
the same directory and output files, one after the other in the same round, each in a process of its own. Other tools are
compared by `peers.py`."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS = 3000
ROUNDS = 7


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
    """The whole command `ensemble run`, less the same command for one job: start-up is another benchmark."""
    return command(folder, slots, JOBS) - command(folder, slots, 1)


def command(folder, slots, jobs):
    """Seconds that `ensemble run` takes."""
    file = Path(folder) / f"{jobs}.yaml"
    file.write_text(
        f"members: {{local: {{nodes: 1, cores: {slots}}}}}\njobs: [{{name: t, command: /bin/true, count: {jobs}}}]"
    )
    words = [sys.executable, "-m", "ensemble", "run", str(file), "--run-dir", f"{folder}/run-{jobs}"]
    began = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, timeout=600)
    return time.perf_counter() - began


def alone(measure):
    """In a process of its own: what ran in a process before changes where the kernel puts what it starts."""

    def apart(folder, slots):
        command = [sys.executable, __file__, measure.__name__, folder, str(slots)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        return float(done.stdout.split()[-1])

    return apart


MEASURES = {"bare posix_spawn loop": alone(bare), "ensemble": ours}


def main():
    slots = len(os.sched_getaffinity(0))
    here = os.getcwd()
    print(f"local member: {JOBS} x /bin/true on {slots} cores, journal on; medians of {ROUNDS} interleaved rounds")
    times = {name: [] for name in MEASURES}
    for _ in range(ROUNDS):
        for name, measure in MEASURES.items():
            folder = tempfile.mkdtemp(dir=here)
            try:
                os.sync()
                times[name].append(measure(folder, slots))
            finally:
                os.chdir(here)
                shutil.rmtree(folder, ignore_errors=True)
    base = times["bare posix_spawn loop"]
    for name, found in times.items():
        # against the bare loop of the same round: what a start costs here changes from minute to minute
        ratios = sorted(bare / one for bare, one in zip(base, found, strict=True))
        rate, middle = JOBS / statistics.median(found), statistics.median(ratios)
        print(f"  {name:24} {rate:>8,.0f} jobs/s  {middle:.2f} of the bare loop ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print("  (to reach: 0.80 of the bare loop; the bare loop and we make a directory and two files for each job)")


if __name__ == "__main__":
    os.environ.setdefault("ENSEMBLE_HOME", str(Path(tempfile.gettempdir()) / "ensemble-bench"))
    if len(sys.argv) == 4:
        print(bare(sys.argv[2], int(sys.argv[3])))
    else:
        main()
