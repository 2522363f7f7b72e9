"""What the state of its pods says of a job: whether it waits (and why, in plain words), runs or has ended, and how."""

from __future__ import annotations

__all__ = ["End", "Reading", "end_of", "first_failure", "read_pods", "refusal_words", "why_waiting"]

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ensemble.members.kubernetes.objects import ContainerStatus, Pod, Terminated, seconds_of
from ensemble.members.kubernetes.script import Report
from ensemble.members.kubernetes.template import CONTAINER

_DISRUPTIONS: Final = {
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "DeletionByTaintManager": "its node does not answer, or may no longer run it (taint)",
    "EvictionByEvictionAPI": "it was evicted, such as by a drain of its node",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ended it (short of memory or disk, or shut down)",
}
"""What the reasons of the condition DisruptionTarget mean."""
_UNSTARTABLE: Final = {
    "ErrImagePull": "cannot be pulled",
    "ImagePullBackOff": "cannot be pulled",
    "ErrImageNeverPull": "is not on the node, and may not be pulled there",
    "InvalidImageName": "is no valid name",
    "ImageInspectError": "cannot be read",
    "RegistryUnavailable": "cannot be pulled: its registry does not answer",
}
_NO_CONTAINER: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff")
_LAUNCH: Final = ("StartError", "ContainerCannotRun")
_NO_PODS: Final = "Kubernetes has not made its pods yet"


class End(Struct, frozen=True):
    """How a pod or a job ended; the fields are those of `JobEvent`. `time` is in seconds since 1970."""

    outcome: str
    reason: str = ""
    exit_code: int = -1
    signal: int = 0
    text: str = ""
    start: float = 0.0
    time: float = 0.0


class Reading(Struct, frozen=True):
    """What pods say of their job. `waiting`: why it has not begun. `placed`: its pods have nodes."""

    waiting: str = ""
    placed: bool = False
    start: float = 0.0
    hosts: str = ""

    @property
    def running(self) -> bool:
        """Whether every pod has begun."""
        return bool(self.start)


def read_pods(pods: Sequence[Pod], expected: int, notice: str = "") -> Reading:
    """What the pods of a job that is not over say; `notice` is why its controller could not make them."""
    if len(pods) < expected:
        return Reading(waiting=refusal_words(notice) if notice else _NO_PODS)
    hosts = ",".join(dict.fromkeys(pod.spec.nodeName for pod in pods if pod.spec.nodeName))
    starts = [_start(pod) for pod in pods]
    if all(starts):
        return Reading(start=max(starts), hosts=hosts, placed=True)
    placed = all(pod.spec.nodeName for pod in pods)
    waiting = next(why_waiting(pod) for pod, start in zip(pods, starts, strict=True) if not start)
    return Reading(waiting=waiting, hosts=hosts, placed=placed)


def _start(pod: Pod) -> float:
    """When the job's container began; 0 where it has not."""
    status = pod.container(CONTAINER)
    if status is None:
        return 0.0
    for state in (status.state, status.lastState):
        began = state.running or state.terminated
        if began is not None and began.startedAt:
            return seconds_of(began.startedAt)
    return 0.0


def why_waiting(pod: Pod) -> str:
    """Why a pod that has been made does not run, in plain words."""
    unscheduled = pod.condition("PodScheduled", "False")
    if unscheduled is not None:
        if unscheduled.reason == "SchedulingGated":
            return "its pod is held back by a scheduling gate"
        # `0/2 nodes are available: 1 Insufficient cpu, ... . preemption: ...`
        said = unscheduled.message.partition(". ")[0].rstrip(".")
        return f"no node has room: {said.partition('available: ')[2] or said or 'the scheduler does not say why'}"
    if not pod.spec.nodeName:
        return "it waits for the scheduler"
    for status in (*(pod.status.initContainerStatuses or ()), *(pod.status.containerStatuses or ())):
        waiting = status.state.waiting
        if waiting is None:
            continue
        if waiting.reason in _UNSTARTABLE:
            cause = _last_cause(waiting.message) if waiting.reason in ("ErrImagePull", "ImagePullBackOff") else ""
            return f"image {status.image} {_UNSTARTABLE[waiting.reason]}{cause}"
        if waiting.reason in _NO_CONTAINER:
            return f"its container cannot be started: {waiting.message or waiting.reason}"
    return "its node makes the container ready (image, volumes)"


def _last_cause(message: str) -> str:
    """The innermost of nested errors: what stands after the last `: `."""
    cause = message.strip().rpartition(": ")[2].strip().strip('"')
    return f": {cause}" if cause and "Back-off" not in message else ""


def refusal_words(message: str) -> str:
    """Why a controller could not make pods, in words that are the same for all jobs that it holds for."""
    quota = re.search(r"exceeded quota: (\S+), requested: (.*?), used: (.*?), limited: (.*)", message)
    if quota:
        name, requested, _, limit = quota.groups()
        return f"the namespace's quota {name} is used up: it needs {requested} and the limit is {limit}"
    policy = re.search(r"violates PodSecurity (.*)", message)
    if policy:
        return f"the namespace's Pod Security does not admit it: {policy.group(1)}"
    webhook = re.search(r"(admission webhook .*)", message)
    if webhook:
        return webhook.group(1)
    return f"its pods are refused: {re.sub(r'^Error creating: ', '', message)}"


# ---- ends --------------------------------------------------------------------------------------------


def end_of(pod: Pod) -> End | None:
    """How a pod ended; None while it has not."""
    status = pod.container(CONTAINER)
    ended = _ended(status)
    over = pod.status.phase in ("Failed", "Succeeded") or ended is not None
    if not over:
        return None
    report = Report.read(ended.message) if ended is not None else Report()
    start = report.start or (seconds_of(ended.startedAt) if ended is not None else 0.0)
    at = report.end or (seconds_of(ended.finishedAt) if ended is not None else 0.0)
    return replace(_verdict(pod, ended, report), start=start, time=max(at, start))


def _verdict(pod: Pod, ended: Terminated | None, report: Report) -> End:
    """How a pod ended that has: what Kubernetes did to it counts before what the job did."""
    if pod.status.phase == "Succeeded" or (ended is not None and ended.exitCode == 0):
        return End("success", exit_code=0)
    disruption = pod.condition("DisruptionTarget")
    if disruption is not None:
        words = _DISRUPTIONS.get(disruption.reason, disruption.reason)
        return _infrastructure(f"{words}: {disruption.message}")
    if report.reason:
        return End("failed", report.reason, _code(ended, report), text=report.text)
    if pod.status.reason == "DeadlineExceeded":
        return End("failed", "walltime")
    if ended is not None and ended.reason == "OOMKilled":
        return _infrastructure("it used more memory than its limit, or its node ran out of memory (OOMKilled)")
    if ended is not None and ended.reason in _LAUNCH:
        return End("failed", "launch", text=ended.message)
    if pod.status.reason:
        # the node refused or ended it: Evicted, NodeLost, NodeShutdown, OutOfcpu, UnexpectedAdmissionError
        return _infrastructure(f"{pod.status.reason}: {pod.status.message}")
    if pod.metadata.deletionTimestamp:
        return _infrastructure("its pod was deleted")
    if ended is None:
        return _infrastructure("its pod failed before the job began")
    if 128 < ended.exitCode <= 192:
        return End("failed", "signal", signal=ended.exitCode - 128)
    return End("failed", "exit", ended.exitCode)


def _infrastructure(text: str) -> End:
    return End("failed", "infrastructure", text=text.rstrip(": "))


def _ended(status: ContainerStatus | None) -> Terminated | None:
    """How the job's container ended the first time."""
    if status is None:
        return None
    return status.lastState.terminated or status.state.terminated


def _code(ended: Terminated | None, report: Report) -> int:
    code = ended.exitCode if ended is not None else -1
    return code if report.reason in ("setup", "cleanup") and code <= 128 else -1


def first_failure(ends: Sequence[End]) -> End | None:
    """The failure that came first: the others follow from it."""
    failures = [end for end in ends if end.outcome != "success"]
    return min(failures, key=lambda end: end.time or float("inf")) if failures else None
