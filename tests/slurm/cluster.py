"""A real Slurm for the tests: started once for a session, ended with it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ensemble.members.batch.slurm import SlurmMember
from ensemble.model.jobs import JobSpec
from ensemble.testing import Do, MemberHarness
from ensemble.testing.bench import Bench
from tests.conftest import AT_THE_END

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-cluster"

_found: list[str] = []


def enter() -> str:
    """Make it the cluster of this process and its children; return its directory. Other tests must not see it.

    All of its nodes are up then: a node that came back later would run the jobs which a test wants to see waiting.
    """
    os.environ["SLURM_CLUSTER_DIR"] = _found[0]
    os.environ["SLURM_CONF"] = f"{_found[0]}/slurm.conf"
    until(nodes_are_up)
    return _found[0]


def leave() -> None:
    """End the jobs there are, and forget the cluster."""
    user = str(os.getuid())
    for words in (["--full", "--signal=KILL"], []):
        subprocess.run(["scancel", *words, "-u", user], check=False, timeout=30)
    os.environ.pop("SLURM_CONF", None)
    os.environ.pop("SLURM_CLUSTER_DIR", None)


@functools.cache
def missing() -> str:
    """Start the cluster; why there is none, or nothing. `enter` then makes it the one that Slurm's commands use."""
    folder = tempfile.mkdtemp(prefix="ensemble-slurm-")
    environment = {**os.environ, "SLURM_CLUSTER_DIR": f"{folder}/cluster"}
    with open(f"{folder}/start.log", "w+") as log:
        try:
            done = subprocess.run(
                [SCRIPT, "start"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=400
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"no Slurm here: {error}"
        log.seek(0)
        told = log.read().strip().splitlines()
    if done.returncode:
        return f"no Slurm here: {told[-1] if told else done.returncode}"
    _found.append(f"{folder}/cluster")
    # when the tests are killed, the cluster goes too
    watch = f'tail --pid={os.getpid()} -f /dev/null; exec "$0" stop'
    null = subprocess.DEVNULL
    words = ["/bin/sh", "-c", watch, str(SCRIPT)]
    watcher = subprocess.Popen(words, env=environment, stdin=null, stdout=null, stderr=null, start_new_session=True)
    AT_THE_END.callback(_stop, folder, environment, watcher)
    return ""


def _stop(folder: str, environment: dict[str, str], watcher: subprocess.Popen[bytes]) -> None:
    os.killpg(watcher.pid, signal.SIGKILL)
    watcher.wait()
    subprocess.run([SCRIPT, "stop"], env=environment, timeout=60, check=False)
    subprocess.run(["rm", "-rf", folder], check=False)


class Harness(MemberHarness):
    patience = 60.0

    def member(self) -> SlurmMember:
        return SlurmMember()

    def options(self) -> dict[str, Any]:
        return {"poll": 0.5, "settle": 5.0}


def slurm(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def nodes_are_up() -> bool:
    """Whether every node takes jobs; one that is down is resumed, which Slurm calls an error of one that is not."""
    every = [line.split() for line in slurm("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").splitlines()]
    for name, state in every:
        if state.startswith(("down", "drain")):
            subprocess.run(["scontrol", "update", f"nodename={name}", "state=resume"], capture_output=True, check=False)
    return all(state in ("idle", "mix", "alloc", "comp") for _, state in every)


def stop_controller(cluster: Path) -> None:
    """End it in good order.

    Killed by force it forgets the jobs of its last seconds, gives their ids to others, and drains the nodes where both
    meet ("Duplicate jobid").
    """
    pid = int((cluster / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists())


def start_controller() -> None:
    subprocess.run([SCRIPT, "start-controller"], check=True)
    until(lambda: not subprocess.run(["sinfo", "-h"], capture_output=True, check=False).returncode)
    until(nodes_are_up)


def restart_empty(cluster: Path, conf: str, first: int = 0) -> None:
    """Start a controller that knows of no job; its first has the id `first`, else one that the nodes never saw."""
    stop_controller(cluster)
    for state in (cluster / "state").glob("job_state*"):
        state.unlink()
    (cluster / "slurm.conf").write_text(f"{conf}FirstJobId={first or int(time.time()) % 1_000_000 * 60 + 1}\n")
    start_controller()


def on(bench: Bench, key: str, do: Do, **options: Any) -> JobSpec:
    return bench.harness.job(key, do, options=options)


def native(bench: Bench, key: str) -> str:
    return next(event.native_id for event in bench.sink.of(key) if event.native_id)


async def hurry(bench: Bench, key: str) -> None:
    """Let a requeued job start soon: Slurm lets it wait for two minutes.

    It waits because the node takes no credential made within the second in which the job's last one was revoked: a job
    that starts at once is failed by Slurm itself ("Job credential revoked").
    """
    job = native(bench, key)
    # not while it is COMPLETING: the two minutes begin after that
    await bench.seen(lambda: slurm("squeue", "-h", "-j", job, "-o", "%T").strip() == "PENDING", "it is requeued")
    slurm("scontrol", "update", f"jobid={job}", "starttime=now+2")


def ensemble(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ensemble", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
