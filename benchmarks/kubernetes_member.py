"""1,000 Jobs of one pod each through the ensemble, journal on, against lightkube alone making the same Jobs and watching
them until all are complete, in turns in the same run: Jobs per second and their ratio. The pods are kwok's, which end at
once. Needs a cluster with fake nodes (`scripts/kubernetes-cluster start --fake-nodes 4`) and its KUBECONFIG."""

import asyncio
import statistics
import sys
import tempfile
import time
from copy import deepcopy
from secrets import token_hex

import msgspec
from lightkube import AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Namespace

from ensemble.members.kubernetes import submission
from ensemble.runtime import RunOptions, run
from ensemble.spec.loader import loads

JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
TURNS = int(sys.argv[2]) if len(sys.argv) > 2 else 4

STEPS = ("create", "init-container-running", "init-container-completed", "ready", "complete")
AT_ONCE = {f"pod-{step}.stage.kwok.x-k8s.io/{what}": "0s" for step in STEPS for what in ("delay", "jitter-delay")}
POD = {
    "metadata": {"annotations": AT_ONCE},
    "spec": {"tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}], "nodeSelector": {"type": "kwok"}},
}

manifests = []
manifest_of = submission.Submission.manifest


def remembered(self, attempt):
    """What the member makes of a job, kept for the bare client."""
    made = manifest_of(self, attempt)
    if len(manifests) < JOBS:
        manifests.append(deepcopy(made))
    return made


async def bare(namespace):
    client = AsyncClient(namespace=namespace)
    limit = asyncio.Semaphore(submission._AT_ONCE)
    jobs = [msgspec.convert(made, Job) for made in manifests]
    began = time.perf_counter()
    listed = client.list(Job)
    [job async for job in listed]

    async def create(job):
        async with limit:
            await client.create(job)

    async def watch():
        over = set()
        async for _, job in client.watch(Job, resource_version=listed.resourceVersion):
            if any(one.type == "Complete" and one.status == "True" for one in job.status.conditions or ()):
                over.add(job.metadata.name)
                if len(over) == JOBS:
                    return

    await asyncio.gather(watch(), *map(create, jobs))
    return time.perf_counter() - began


async def ours(namespace):
    with tempfile.TemporaryDirectory() as folder:
        # nothing is written by pods that are not real; without a shared volume their logs would be asked for
        shared = {"path": folder, "volume": {"emptyDir": {}}}
        options = {"namespace": namespace, "image": "busybox", "pod": POD, "shared": shared}
        jobs = [{"name": "t", "command": "true", "count": JOBS}]
        spec = loads(msgspec.json.encode({"members": {"job": {"options": options}}, "jobs": jobs}).decode())
        began = time.perf_counter()
        result = await run(spec, RunOptions(run_dir=f"{folder}/run"), [])
        assert result.outcome == "success", result
        return time.perf_counter() - began


async def measured(what):
    """In a namespace of its own, whose deletion is not part of it."""
    client, name = AsyncClient(), f"benchmark-{token_hex(4)}"
    await client.create(Namespace(metadata=ObjectMeta(name=name)))
    try:
        return await what(name)
    finally:
        await client.delete(Namespace, name)
        # the next measurement begins on an idle server
        async for event, found in client.watch(Namespace, fields={"metadata.name": name}):
            if event == "DELETED" and found.metadata.name == name:
                break


submission.Submission.manifest = remembered
ratios = []
for turn in range(TURNS):
    # the first turn begins with the ensemble, which makes the manifests for both
    order = (bare, ours) if turn % 2 else (ours, bare)
    took = {what: asyncio.run(measured(what)) for what in order}
    ratios.append(took[bare] / took[ours])
    print(
        f"{JOBS} Jobs: lightkube {JOBS / took[bare]:.1f}/s, ensemble {JOBS / took[ours]:.1f}/s, ratio {ratios[-1]:.2f}",
        flush=True,
    )
print(f"median ratio {statistics.median(ratios):.2f} (reach: 0.90)")
