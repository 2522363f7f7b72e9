"""Jobs per second of `/bin/true` through the whole system, journal on, against a bare `os.posix_spawn` loop that makes
the same directory and output files, one after the other in the same round, each in a process of its own; and, where they
are installed, xargs, GNU parallel, HyperQueue's LocalCluster and Parsl's HTEX."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
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


def xargs(folder, slots):
    """No directory and no files of a job's own: a lower bound of what starting programs costs."""
    began = time.perf_counter()
    subprocess.run(f"seq {JOBS} | xargs -P {slots} -I{{}} /bin/true", shell=True, check=True)
    return time.perf_counter() - began


def parallel(folder, slots):
    """GNU parallel with its job log, its nearest thing to a record of what ran."""
    began = time.perf_counter()
    command = f"seq {JOBS} | parallel -j {slots} --joblog {folder}/log /bin/true"
    subprocess.run(command, shell=True, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


HYPERQUEUE = """
import sys, time
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
jobs, slots = int(sys.argv[1]), int(sys.argv[2])
with LocalCluster() as cluster:
    cluster.start_worker(WorkerConfig(cores=slots))
    client = cluster.client()
    job = Job(default_workdir=sys.argv[3])
    for _ in range(jobs):
        job.program(["/bin/true"], stdout=None, stderr=None)
    began = time.perf_counter()
    client.wait_for_jobs([client.submit(job)])
    print(time.perf_counter() - began)
"""

PARSL = """
import sys, time
import parsl
from parsl import bash_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
jobs, slots = int(sys.argv[1]), int(sys.argv[2])
executor = HighThroughputExecutor(max_workers_per_node=slots, provider=LocalProvider(init_blocks=1, max_blocks=1))
with parsl.load(Config(executors=[executor], run_dir=sys.argv[3], initialize_logging=False)):
    @bash_app
    def true():
        return "/bin/true"
    true().result()
    began = time.perf_counter()
    for future in [true() for _ in range(jobs)]:
        future.result()
    print(time.perf_counter() - began)
"""


def other(script):
    def measure(folder, slots):
        command = [sys.executable, "-c", script, str(JOBS), str(slots), folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=600)
        return float(done.stdout.split()[-1])

    return measure


def alone(measure):
    """In a process of its own: what ran in a process before changes where the kernel puts what it starts."""

    def apart(folder, slots):
        command = [sys.executable, __file__, measure.__name__, folder, str(slots)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        return float(done.stdout.split()[-1])

    return apart


def missing(module):
    return "" if find_spec(module) else f"the Python package {module} is not installed here"


PEERS = {
    "bare posix_spawn loop": (alone(bare), ""),
    "ensemble": (ours, ""),
    "xargs -P": (xargs, "" if shutil.which("xargs") else "not installed"),
    "GNU parallel": (parallel, "" if shutil.which("parallel") else "not installed"),
    "HyperQueue LocalCluster": (other(HYPERQUEUE), missing("hyperqueue")),
    "Parsl HTEX": (other(PARSL), missing("parsl")),
}


def main():
    slots = len(os.sched_getaffinity(0))
    here = os.getcwd()
    print(f"local member: {JOBS} x /bin/true on {slots} cores, journal on; medians of {ROUNDS} interleaved rounds")
    times = {name: [] for name, (_, reason) in PEERS.items() if not reason}
    for _ in range(ROUNDS):
        for name in list(times):
            folder = tempfile.mkdtemp(dir=here)
            try:
                os.sync()
                times[name].append(PEERS[name][0](folder, slots))
            except subprocess.SubprocessError as error:
                del times[name]
                said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
                print(f"  {name}: could not be measured: {said[-1] if said else error}")
            finally:
                os.chdir(here)
                shutil.rmtree(folder, ignore_errors=True)
    base = times["bare posix_spawn loop"]
    for name, found in times.items():
        # against the bare loop of the same round: what a start costs here changes from minute to minute
        ratios = sorted(bare / one for bare, one in zip(base, found, strict=True))
        rate, middle = JOBS / statistics.median(found), statistics.median(ratios)
        print(f"  {name:24} {rate:>8,.0f} jobs/s  {middle:.2f} of the bare loop ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    for name, (_, reason) in PEERS.items():
        if reason:
            print(f"  {name}: {reason}, not compared")
    print("  (to reach: 0.80 of the bare loop; the bare loop and we make a directory and two files for each job)")


if __name__ == "__main__":
    os.environ.setdefault("ENSEMBLE_HOME", str(Path(tempfile.gettempdir()) / "ensemble-bench"))
    if len(sys.argv) == 4:
        print(bare(sys.argv[2], int(sys.argv[3])))
    else:
        main()
