"""What a job's script does on its node, run by bash as a queue runs it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from ensemble.members.batch.commands import Commands
from ensemble.members.batch.script import array_script, job_script
from ensemble.members.batch.slurm import Slurm
from ensemble.members.batch.spool import Array, Spool
from ensemble.model.jobs import AttemptRef, JobSpec


class Node:
    """A spool with one array of one job, and the means to run its script."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.ledger = run / "ledger"
        self.spool = Spool(str(run), "slurm", "m")
        self.spool.open(1, "m@1-0")

    def ship(self, command: str) -> None:
        spec = JobSpec(
            AttemptRef("r", "a-0", 1), group="a", command=("/bin/sh", "-c", command), workdir=str(self.run / "jobs/a-0")
        )
        (self.run / "jobs" / "a-0").mkdir(parents=True)
        script, _ = job_script(spec, str(self.run), Slurm(Commands({}, ()), "", {}), "")
        self.spool.add(Array("s1", [spec]), [script], str(self.run))
        self.script = array_script(Slurm, str(self.spool.folder), "s1")

    path = "/usr/bin:/bin"

    def begin(self, restart: int = 0) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": self.path,
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": "0",
            "SLURM_RESTART_COUNT": str(restart),
        }
        words = ["/bin/bash", "-c", self.script]
        return subprocess.Popen(words, env=environment, start_new_session=True)

    def execute(self, restart: int = 0) -> int:
        return self.begin(restart).wait(60)

    def told(self) -> list[tuple[str, str]]:
        return [("end" if r.ended else "start", r.fields["incarnation"]) for r in self.spool.reports()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_an_end_on_a_full_disk_is_recorded_once_there_is_room(tmp_path: Path) -> None:
    run, programs = tmp_path / "run", tmp_path / "bin"
    run.mkdir()
    programs.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", run], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        node = Node(run)
        node.path = f"{programs}:/usr/bin:/bin"
        # who waits for room gets it
        (programs / "sleep").write_text(f"#!/bin/sh\necho x >> {tmp_path}/waited; rm -f {run}/fill\n")
        (programs / "sleep").chmod(0o755)
        node.ship(f"cat /dev/zero > {run}/fill 2>/dev/null; exit 3")
        assert node.execute() == 0
        assert (tmp_path / "waited").exists()
        assert [report.fields["code"] for report in node.spool.reports() if report.ended] == ["3"]
        node.spool.close()
    finally:
        subprocess.run(["umount", run], check=True)


def test_a_restart_that_begins_after_a_later_one_executes_nothing(node: Node) -> None:
    node.ship(f'echo x >> {node.ledger}; [ "$SLURM_RESTART_COUNT" = 2 ] && exec sleep 60; kill -9 "$PPID"')
    node.execute(0)  # its node dies
    later = node.begin(2)
    try:
        while len(node.ledger.read_text().split()) < 2:
            assert later.poll() is None
        assert node.execute(1) == 0
        assert node.told() == [("start", "0"), ("start", "2")]
    finally:
        os.killpg(later.pid, signal.SIGKILL)
        later.wait(60)
    assert len(node.ledger.read_text().split()) == 2


def test_a_restart_that_ends_after_a_later_one_has_begun_tells_no_end(node: Node) -> None:
    gate = node.run / "gate"
    subprocess.run(["mkfifo", gate], check=True)
    node.ship(f'[ "$SLURM_RESTART_COUNT" = 0 ] && read x < {gate}; exit 0')
    first = node.begin(0)
    while not node.told():
        assert first.poll() is None
    assert node.execute(1) == 0
    gate.write_text("go\n")
    assert first.wait(60) == 0
    assert node.told() == [("start", "0"), ("start", "1"), ("end", "1")]
