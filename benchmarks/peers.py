"""Short jobs through `ensemble run`, and through whatever peers of it are installed: jobs per second, and ratios.

    python benchmarks/peers.py [--jobs 500] [--seconds 0] [--turns 3] [--python PYTHON]

Every tool runs the same command on the same number of slots, as a whole command (a server or instance that it needs is
started before, and not counted). The tools take turns, so that whatever else the machine does meets all of them. What was
not found is named at the end. `--python` is an interpreter that has Parsl and Dask, where this one has not.

They do not promise the same: only `ensemble run` has a durable journal and runs each job exactly once after a crash;
`xargs` and GNU parallel keep no state (GNU parallel writes its job log here).
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SLOTS = len(os.sched_getaffinity(0))

PARSL = """
import sys, parsl
from parsl import bash_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
command, jobs, slots, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
provider = LocalProvider(init_blocks=1, max_blocks=1)
executor = HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=slots, provider=provider)
@bash_app
def job(command):
    return command
with parsl.load(Config(executors=[executor], run_dir=folder, strategy="none")):
    assert [one.result() for one in [job(command) for _ in range(jobs)]] == [0] * jobs
"""

DASK = """
import subprocess, sys
from distributed import Client, LocalCluster
def job(command, number):
    return subprocess.run(command.split(), check=True).returncode
if __name__ == "__main__":
    command, jobs, slots, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    with LocalCluster(n_workers=1, threads_per_worker=slots, dashboard_address=None, local_directory=folder) as cluster:
        with Client(cluster) as client:
            assert client.gather(client.map(job, [command] * jobs, range(jobs))) == [0] * jobs
"""


class NotFound(Exception):
    """A tool is not installed."""


def found(program):
    path = shutil.which(program)
    if path is None:
        raise NotFound(f"no `{program}` on PATH")
    return path


def call(words, folder, **more):
    """Run a whole command and raise what it printed where it fails."""
    done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")


@contextlib.contextmanager
def ensemble(folder, command, jobs):
    text = f"members: {{local: {{cores: {SLOTS}}}}}\njobs: [{{name: job, command: '{command}', count: {jobs}}}]\n"
    Path(folder, "file.yaml").write_text(text)
    words = [sys.executable, "-m", "ensemble", "run", "file.yaml", "--member", "local", "--output", "quiet"]
    environment = {**os.environ, "ENSEMBLE_HOME": folder}
    turns = iter(range(1_000_000))
    yield lambda: call([*words, "--run-dir", f"run-{next(turns)}"], folder, env=environment)


@contextlib.contextmanager
def xargs(folder, command, jobs):
    words = f"seq {jobs} | {found('xargs')} -P {SLOTS} -I '{{}}' {command}"
    yield lambda: call(["sh", "-c", words], folder)


@contextlib.contextmanager
def parallel(folder, command, jobs):
    words = f"seq {jobs} | {found('parallel')} --will-cite -N1 -j {SLOTS} --joblog log {command} '#{{}}'"
    yield lambda: call(["sh", "-c", words], folder, env={**os.environ, "PARALLEL_HOME": folder})


@contextlib.contextmanager
def hyperqueue(folder, command, jobs):
    hq = found("hq")
    environment = {**os.environ, "HQ_SERVER_DIR": f"{folder}/hq"}
    quiet = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([hq, "server", "start"], **quiet) as server:
        try:
            until(lambda: not subprocess.run([hq, "server", "info"], check=False, **quiet).returncode)
            with subprocess.Popen([hq, "worker", "start", f"--cpus={SLOTS}"], **quiet) as worker:
                words = [
                    hq,
                    "submit",
                    "--wait",
                    f"--array=1-{jobs}",
                    "--stdout=none",
                    "--stderr=none",
                    *command.split(),
                ]
                yield lambda: call(words, folder, env=environment)
                worker.terminate()
        finally:
            server.terminate()


@contextlib.contextmanager
def flux(folder, command, jobs):
    address = Path(folder, "uri")
    script = f'echo "$FLUX_URI" > {address}.new && mv {address}.new {address} && exec sleep inf'
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([found("flux"), "start", "sh", "-c", script], **quiet) as instance:
        try:
            until(address.exists)
            environment = {**os.environ, "FLUX_URI": address.read_text().strip()}
            words = ["flux", "submit", "--quiet", "--wait", f"--cc=1-{jobs}", "--output=out-{{cc}}", *command.split()]
            yield lambda: call(words, folder, env=environment)
        finally:
            subprocess.run(["flux", "shutdown", "--quiet", address.read_text().strip()], check=False, timeout=60)
            instance.terminate()


def in_python(module, script):
    @contextlib.contextmanager
    def peer(folder, command, jobs):
        if subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False).returncode:
            raise NotFound(f"no module `{module}` in {PYTHON}")
        path = Path(folder, "peer.py")
        path.write_text(script)
        path_first = os.pathsep.join([os.path.dirname(PYTHON), os.environ["PATH"]])
        words = [PYTHON, str(path), command, str(jobs), str(SLOTS), folder]
        yield lambda: call(words, folder, env={**os.environ, "PATH": path_first})

    return peer


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise RuntimeError("it did not come up")
        time.sleep(0.05)


PEERS = {
    "ensemble run": ensemble,
    "xargs -P": xargs,
    "GNU parallel": parallel,
    "HyperQueue": hyperqueue,
    "Flux (submit --cc)": flux,
    "Parsl (HighThroughput)": in_python("parsl", PARSL),
    "Dask (distributed)": in_python("distributed", DASK),
}


def main():
    with contextlib.ExitStack() as stack:
        command = f"sleep {ARGUMENTS.seconds:g}" if ARGUMENTS.seconds else "true"
        runs, missing, rates = {}, {}, {}
        for name, peer in PEERS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-"))
            try:
                runs[name] = stack.enter_context(peer(folder, command, ARGUMENTS.jobs))
                rates[name] = []
            except NotFound as error:
                missing[name] = str(error)
        for turn in range(ARGUMENTS.turns):
            names = list(runs)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                began = time.perf_counter()
                runs[name]()
                rates[name].append(ARGUMENTS.jobs / (time.perf_counter() - began))
    print(f"{ARGUMENTS.jobs} x `{command}`, {SLOTS} slots, medians of {ARGUMENTS.turns} turns:")
    ours = rates["ensemble run"]
    for name, theirs in rates.items():
        ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
        print(f"  {name:24} {statistics.median(theirs):8.1f} jobs/s   ensemble run / this: {ratio:.2f}")
    for name, why in missing.items():
        print(f"  {name:24} not measured: {why}")


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--jobs", type=int, default=500, help="jobs in each turn")
parser.add_argument("--seconds", type=float, default=0.0, help="how long each job sleeps; 0: the command is `true`")
parser.add_argument("--turns", type=int, default=3, help="times that each tool runs all jobs")
parser.add_argument("--python", default=sys.executable, help="an interpreter that has Parsl and Dask")
ARGUMENTS = parser.parse_args()
PYTHON = ARGUMENTS.python
if __name__ == "__main__":
    main()
