"""A run on Kubernetes whose engine is killed: what happened is counted from the audit log and the jobs' own ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster import Namespace
from tests.members.kubernetes import ON_NODE

JOBS = 8


def ensemble(folder: Path, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "ENSEMBLE_HOME": str(folder / "home")}
    out = (folder / "output").open("a")
    return subprocess.Popen([sys.executable, "-m", "ensemble", *words], cwd=folder, env=env, stdout=out, stderr=out)


def write(folder: Path, kind: str, namespace: Namespace, shared: bool = True, **more: Any) -> None:
    options = {**ON_NODE, "kubeconfig": str(namespace.cluster.kubeconfig), "namespace": namespace.name, **more}
    if shared:
        options["shared"] = {"path": str(folder), "volume": {"hostPath": {"path": str(folder)}}}
    script = f'echo "$ENSEMBLE_KEY" >> {folder}/ledger; sleep 0.3' if shared else "echo $ENSEMBLE_KEY; sleep 0.3"
    file = {
        "members": {"here": {"kind": kind, "options": options}},
        "jobs": [{"name": "a", "command": script, "shell": True, "count": JOBS}],
    }
    (folder / "file.yaml").write_text(json.dumps(file))


@pytest.mark.parametrize(("kind", "resource"), [("job", "jobs"), ("jobset", "jobsets")])
def test_an_engine_killed_again_and_again_loses_and_doubles_nothing(
    namespace: Namespace, tmp_path: Path, kind: str, resource: str
) -> None:
    write(tmp_path, kind, namespace)
    run = tmp_path / "run"
    words = ["run", "file.yaml", "--run-dir", str(run)]
    for number in range(3):
        process = ensemble(tmp_path, *words)
        words = ["resume", str(run)]
        until = time.monotonic() + 60
        # each engine is killed once the next few jobs are there
        while len(namespace.created(resource)) < min(JOBS - 1, 1 + 3 * number) and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert ensemble(tmp_path, *words).wait(180) == 0, (tmp_path / "output").read_text()
    started = Counter((tmp_path / "ledger").read_text().split())
    assert started == {f"a-{i}": 1 for i in range(JOBS)}
    # one whose client was killed before the answer may be missing in the log; none is there twice
    created = Counter(namespace.created(resource))
    assert set(created.values()) == {1}
    assert len(namespace.get(resource)["items"]) == JOBS
    assert ensemble(tmp_path, "verify", str(run)).wait(60) == 0


def test_two_runs_of_the_same_name_in_one_namespace_do_not_meet(namespace: Namespace, tmp_path: Path) -> None:
    processes = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, "job", namespace, shared=False)
        processes.append(ensemble(folder, "run", "file.yaml"))
    assert [process.wait(180) for process in processes] == [0, 0]
    assert len(set(namespace.created("jobs"))) == 2 * JOBS
