"""One operator with 1,000 Ensembles, on fake nodes: memory, CPU while idle, restart, and how soon a rule's size is asked
for after a job's end, alone and beside 1,000 other Ensembles.

    python benchmarks/operator_scale.py [ENSEMBLES]

It needs what `scripts/kubernetes-cluster` needs. Times of the API are from the API server's audit log.
"""

import json
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.kubernetes.cluster import FOR_FAKE_NODES, TEST_IMAGE, own
from tests.operator.running import until, world

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
REACH = {
    "memory": "<= 300 MiB",
    "idle": "<= 5 % of a core",
    "restart": "<= 60 s",
    "latency": "p50 <= 100 ms, p99 <= 1 s",
}
IDLE = 30
PROBES = 12
NOW = {
    f"pod-{step}.stage.kwok.x-k8s.io/{what}": "1ms"
    for step in ("create", "ready", "complete")
    for what in ("delay", "jitter-delay")
}
"""What lets a fake pod take its steps at once."""

JOB = {"image": TEST_IMAGE, "template": {"metadata": {"annotations": NOW}, "spec": FOR_FAKE_NODES}}
ENDLESS = {name: "1h" if "complete" in name else delay for name, delay in NOW.items()}
WORK = {"image": TEST_IMAGE, "template": {"metadata": {"annotations": ENDLESS}, "spec": FOR_FAKE_NODES}}


def memory(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def processor(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def metric(operator, name):
    address = re.search(r"health and metrics on (\S+)", operator.log.read_text())[1]
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
        found = re.findall(rf"^{name}(?:\{{.*\}})? ([0-9.e+]+)$", answer.read().decode(), re.MULTILINE)
    return sum(map(float, found))


def ready(space):
    found = space.namespace.kubectl(
        "get", "deployments", "-o", "jsonpath={.items[*].status.availableReplicas}", seconds=120
    )
    return len(found.split())


def seconds(stamp):
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def latencies(space, name):
    """From each probe's end in the API to the patch of the elastic Job that follows, in seconds."""
    # nothing is written by pods that are not real; without a shared volume their logs would be asked for
    shared = {"path": str(space.folder), "volume": {"emptyDir": {}}}
    members = [
        {"name": "pool", "size": 1, "maxSize": PROBES + 2, "job": {**WORK, "elastic": True, "shared": shared}},
        {"name": "probes", "job": {**JOB, "shared": shared}},
    ]
    jobs = [
        {"name": "work", "command": "sleep 3600", "member": "pool"},
        {"name": "probe", "command": "true", "member": "probes", "count": PROBES, "max_running": 1},
    ]
    grow = {
        "trigger": "job-success",
        "name": "probe",
        "action": {"name": "grow", "member": "pool", "repetitions": PROBES},
    }
    space.namespace.apply(space.ensemble(name, members=members, jobs=jobs, rules=[grow]))
    service = space.serve(name)
    jobs_now = lambda: space.namespace.get("jobs")["items"]  # noqa: E731
    until(lambda: any(job["spec"]["parallelism"] > PROBES for job in jobs_now()), 600, "a patch for each firing")
    service.stop()
    ends, asked = [], []
    for entry in space.namespace.audit("jobs"):
        if "-probe-" in entry.name and entry.subresource == "status" and entry.verb in ("update", "patch"):
            ends.append((seconds(entry.time), entry.name))
        if "-work-" in entry.name and entry.verb == "patch" and not entry.subresource:
            asked.append(seconds(entry.time))
    last = sorted({name: at for at, name in ends}.values())
    return [min(found) for at in last if (found := [one - at for one in asked if one >= at])]


def shown(found):
    found = sorted(found)
    p99 = found[min(len(found) - 1, int(len(found) * 0.99))]
    return f"p50 {statistics.median(found) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms ({len(found)} firings)"


def main():
    nodes = COUNT // 100 + 2
    with (
        own("--no-node", f"--fake-nodes={nodes}") as cluster,
        tempfile.TemporaryDirectory() as folder,
        cluster.namespace("operator-scale") as namespace,
        world(namespace, Path(folder)) as space,
    ):
        operator = space.operator()
        operator.says("watching")
        print(
            f"job's end to the patch of a size, alone: {shown(latencies(space, 'alone'))}; reach {REACH['latency']}",
            flush=True,
        )
        began = time.monotonic()
        hello = [{"name": "hello", "command": "echo hello", "count": 3}]
        for first in range(0, COUNT, 100):
            some = [space.ensemble(f"e{n}", jobs=hello) for n in range(first, min(first + 100, COUNT))]
            namespace.kubectl(
                "create",
                "-f",
                "-",
                given=json.dumps({"apiVersion": "v1", "kind": "List", "items": some}),
                seconds=300,
            )
        until(lambda: ready(space) >= COUNT, 1_200, f"{COUNT} service pods, {ready(space)} are there")
        print(f"{COUNT} Ensembles from nothing to a running service pod: {time.monotonic() - began:.0f} s", flush=True)
        until(lambda: metric(operator, "ensemble_operator_queue") == 0, 120)
        time.sleep(10)
        pid, used = operator.popen.pid, processor(operator.popen.pid)
        time.sleep(IDLE)
        share = (processor(pid) - used) / IDLE * 100
        print(
            f"memory {memory(pid):.0f} MiB, reach {REACH['memory']}; idle {share:.1f} % of a core, reach {REACH['idle']}",
            flush=True,
        )
        before = len(namespace.audit())
        operator.kill()
        began = time.monotonic()
        operator = space.operator()
        operator.says("watching", 60)
        waited = time.monotonic() - began
        until(
            lambda: (
                metric(operator, "ensemble_operator_reconciliations_total") >= COUNT
                and not metric(operator, "ensemble_operator_queue")
            ),
            300,
        )
        took = time.monotonic() - began
        writes = [
            one
            for one in namespace.audit()[before:]
            if one.verb in ("create", "patch") and one.resource not in ("leases",)
        ]
        print(
            f"restart to all reconciled {took:.0f} s, of which {waited:.0f} s for the Lease; {len(writes)} writes; reach {REACH['restart']}",
            flush=True,
        )
        print(
            f"job's end to the patch of a size, beside {COUNT}: {shown(latencies(space, 'beside'))}; reach {REACH['latency']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
