"""Many Ensembles on a real Kubernetes while the operator, service pods and the API server are killed.

By default a few. ENSEMBLE_CHAOS_KUBERNETES=20x50x50 asks for 20 Ensembles of 50 jobs and 50 kills.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from ensemble.runtime import verify
from tests.kubernetes.cluster import TEST_IMAGE, Cluster, Namespace, missing, own

INSTALL = Path(__file__).parents[2] / "examples" / "dist" / "ensemble-operator-dev.yaml"
OPERATOR, SERVICE, SERVER = "operator", "service pod", "API server"


class World:
    """Ensembles in one namespace of a cluster whose processes may be killed."""

    def __init__(self, namespace: Namespace, ensembles: int, jobs: int, random: Random) -> None:
        self.namespace, self.cluster, self.random = namespace, namespace.cluster, random
        self.names = [f"chaos-{number}" for number in range(ensembles)]
        self.jobs = jobs
        self.kills: Counter[str] = Counter()
        self.ledgers = self.cluster.folder / "ledgers"
        self.ledgers.mkdir()
        self.ledgers.chmod(0o777)

    def submit(self) -> None:
        """Make all Ensembles."""
        self.namespace.apply(*(self.ensemble(name) for name in self.names))

    def ensemble(self, name: str) -> dict[str, object]:
        """An Ensemble, half of whose jobs are submitted by a rule; each job writes a line into its ledger."""
        note = f'echo "$ENSEMBLE_KEY" >>/ledgers/{name}'
        half = self.jobs // 2
        container = {
            "name": "job",
            "volumeMounts": [{"name": "ledgers", "mountPath": "/ledgers"}],
            "resources": {"requests": {"cpu": "1m"}},
        }
        pod = {
            "volumes": [{"name": "ledgers", "hostPath": {"path": str(self.ledgers)}}],
            "containers": [container],
        }
        both = {"shell": True, "command": note, "max_running": 3}
        rule = {
            "trigger": "metric",
            "name": "count.first.success",
            "when": f"== {half // 2}",
            "action": {"name": "submit", "label": "second"},
        }
        spec = {
            "members": [{"job": {"image": TEST_IMAGE, "pull": "Never", "start_timeout": "1h", "pod": {"spec": pod}}}],
            "jobs": [
                {"name": "first", "count": half, **both},
                {"name": "second", "count": self.jobs - half, "submit": "rules", **both},
            ],
            "rules": [rule],
        }
        kind = {"apiVersion": "ensemble.flux-framework.org/v1alpha1", "kind": "Ensemble"}
        return {**kind, "metadata": {"name": name}, "spec": spec}

    # ---- killing -----------------------------------------------------------------------------------

    def kill(self, what: str) -> None:
        """Kill one of these by force; what is to start it again is the cluster's own, but for the API server."""
        if what == SERVER:
            self.cluster.script("kill", "kube-apiserver")
            self.cluster.script("restart", "kube-apiserver")
        else:
            found = list(self.processes("run" if what == OPERATOR else "serve"))
            if not found:
                return  # it is still on its way back from the last kill
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(found), signal.SIGKILL)
        self.kills[what] += 1

    def processes(self, verb: str) -> Iterator[int]:
        """The processes `ensemble-operator VERB` in pods of this cluster."""
        name = json.loads((self.cluster.folder / "cluster.json").read_text())["name"]
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                ours = f"/{name}/" in (folder / "cgroup").read_text()
                if ours and verb.encode() in words and any(word.endswith(b"/ensemble-operator") for word in words):
                    yield int(folder.name)

    # ---- what came of it ---------------------------------------------------------------------------

    def ended(self) -> int:
        """How many jobs have written into their ledger."""
        return sum(len(self.ledger(name)) for name in self.names)

    def ledger(self, name: str) -> list[str]:
        """The keys of the jobs of an Ensemble that have run, in order."""
        file = self.ledgers / name
        return file.read_text().split() if file.exists() else []

    def over(self) -> bool:
        """Whether every Ensemble says that it is completed."""
        try:
            found = self.namespace.get("ensembles")["items"]
        except AssertionError:  # the API server is away
            return False
        phases = [one.get("status", {}).get("phase") for one in found]
        assert "Failed" not in phases, self.story()
        return phases == ["Completed"] * len(self.names)

    def until(self, true: Callable[[], object], what: str, seconds: float) -> None:
        """Wait for something, and tell the state of all if it does not come."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s\n{self.story()}"
            time.sleep(0.2)

    def story(self) -> str:
        """What kubectl and the ledgers say."""
        told = self.namespace.kubectl("get", "ensembles,pods", "--no-headers")
        told += self.namespace.kubectl("get", "events", "--field-selector=involvedObject.kind=Ensemble")
        for name in self.names:
            told += f"\n== {name}\n" + self.namespace.kubectl("logs", f"deployment/{name}-ensemble", "--tail=15")
        return f"{told}\nledgers: {self.ended()}, kills: {dict(self.kills)}"

    def check(self) -> None:
        """Every job ran once, by its own word; no Job was made twice, by the API server's; every journal verifies."""
        for name in self.names:
            ran = Counter(self.ledger(name))
            assert len(ran) == self.jobs, f"{name}: {self.jobs - len(ran)} jobs never ran"
            assert set(ran.values()) == {1}, f"{name}: ran again: {[key for key, times in ran.items() if times > 1]}"
        made = Counter(self.namespace.created("jobs"))
        assert set(made.values()) == {1}, [job for job, times in made.items() if times > 1]
        total = len(self.names) * self.jobs
        # a request that was answered just before the API server was killed may not be in its log
        assert total - self.kills[SERVER] * len(self.names) <= len(made) <= total
        journals = list(self.cluster.folder.glob("kubelet/pods/*/volumes/*empty-dir/state/runs/*"))
        assert len(journals) == len(self.names)
        for journal in journals:
            assert not (found := verify(journal)).difference, f"{journal}: {found.difference}"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own, with an operator."""
    if missing():
        pytest.skip(missing())
    with own() as made:
        made.script("image", seconds=900)
        made.kubectl("apply", "--server-side", "-f", str(INSTALL))
        made.kubectl("--namespace=ensemble-operator-system", "rollout", "status", "deployment/ensemble-operator",
                     "--timeout=120s", seconds=130)  # fmt: skip
        yield made


def test_every_job_runs_once_whatever_is_killed(cluster: Cluster) -> None:
    ensembles, jobs, kills = map(int, os.environ.get("ENSEMBLE_CHAOS_KUBERNETES", "2x6x3").split("x"))
    seed = int(os.environ.get("ENSEMBLE_CHAOS_SEED", "0")) or secrets.randbelow(1 << 31)
    print(f"ENSEMBLE_CHAOS_SEED={seed} repeats its choices")
    random = Random(seed)
    with cluster.namespace("chaos") as namespace:
        world = World(namespace, ensembles, jobs, random)
        world.submit()
        order = [(OPERATOR, SERVICE, SERVER)[number % 3] for number in range(kills)]
        random.shuffle(order)
        total = ensembles * jobs
        for number, what in enumerate(order):
            least = total * number // (kills + 1)
            world.until(lambda least=least: world.over() or world.ended() >= least, f"{least} jobs have run", 300)  # type: ignore[misc]
            time.sleep(random.random())  # at no particular moment
            world.kill(what)
        world.until(world.over, "all Ensembles are completed", 300)
        world.check()
        print(f"{ensembles} Ensembles of {jobs} jobs, kills: {dict(world.kills)}")
