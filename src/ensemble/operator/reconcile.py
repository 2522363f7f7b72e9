"""What is to be done about one Ensemble, decided from what is seen of it: no I/O, no clock.

The controller gathers an `Observed`, calls `reconcile` and carries out the actions. It does this for every change it is
told of and again after every restart, so an action must be right whenever it is done, and doing nothing must be right
when everything is as it should be.
"""

from __future__ import annotations

__all__ = [
    "Action",
    "Apply",
    "Delete",
    "Mark",
    "Observed",
    "Remove",
    "ServiceState",
    "Wake",
    "WriteStatus",
    "reconcile",
]

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.operator.conversion import Converted, ObjectError
from ensemble.operator.manifests import Settings, children, digest_of
from ensemble.operator.naming import DIGEST, Identity, service_name
from ensemble.operator.resource import Spec
from ensemble.operator.status import Condition

RETRY: Final = 30.0
"""Seconds until something that is missing is looked for again."""

PATIENCE: Final = 60.0
"""Seconds for which a service pod may start before that counts as a fault."""


class ServiceState(Struct, frozen=True):
    """The Deployment of the service pod. `trouble`: why its pod does not run, in the API's words."""

    digest: str
    image: str
    ready: bool
    since: float = 0.0
    trouble: str = ""
    terminating: bool = False


class Observed(Struct, frozen=True):
    """Everything that a decision depends on.

    `read` is the object as an ensemble, or why it is none. `missing`: for each kind of member that the cluster does not
    have, the command that installs it. `fault`: why the last attempt to make something failed; empty where it did not.
    """

    identity: Identity
    generation: int
    read: Converted | ObjectError
    file: str
    status: Mapping[str, Any]
    settings: Settings
    now: float
    service: ServiceState | None = None
    missing: Mapping[str, str] = {}
    fault: str = ""
    deleting: bool = False


class Apply(Struct, frozen=True, tag=True):
    """Make an object, or bring it to this."""

    manifest: dict[str, Any]


class Mark(Struct, frozen=True, tag=True):
    """Note at the Deployment of this name what the rest was made from, and leave its pod alone."""

    name: str
    digest: str


class Delete(Struct, frozen=True, tag=True):
    """Delete an object that was made for the Ensemble, if it is there."""

    kind: str
    name: str


class Remove(Struct, frozen=True, tag=True):
    """Delete the Ensemble, and with it everything that it owns."""

    reason: str


class WriteStatus(Struct, frozen=True, tag=True):
    """Say this in the object's status, and nothing else that was said before."""

    fields: dict[str, Any]
    conditions: tuple[Condition, ...]


class Wake(Struct, frozen=True, tag=True):
    """Look again after so many seconds, whatever happens."""

    seconds: float


Action = Apply | Delete | Mark | Remove | WriteStatus | Wake


def reconcile(seen: Observed) -> list[Action]:
    """Decide what is to be done, in this order."""
    if seen.deleting:
        # what it owns goes with it
        return []
    if isinstance(seen.read, ObjectError):
        return [_failed(seen, seen.read)]
    spec = seen.read.spec
    over = bool(seen.status.get("completionTime"))
    cleaned = over and _is(seen, "CleanedUp")
    saved = cleaned or (over and _is(seen, "Verified", seen.generation))
    if cleaned:
        # its journal is gone: made again, it would run again
        made: list[Action] = []
    else:
        made = _cleaned(seen, spec) if saved and spec.artifacts.clean else _made(seen, over)
    # what was to be saved and is not must not go
    if over and spec.ttl >= 0 and (saved or not spec.artifacts.push):
        left = _seconds(seen.status["completionTime"]) + spec.ttl - seen.now
        if left <= 0:
            return [Remove(f"it has been over for {spec.ttl} s (ttlSecondsAfterFinished)")]
        return [*made, Wake(left)]
    return made


def _is(seen: Observed, condition: str, generation: int = 0) -> bool:
    """Whether a condition of the object is true, and is about this generation or a later one."""
    return any(
        one["type"] == condition and one["status"] == "True" and one.get("observedGeneration", 0) >= generation
        for one in seen.status.get("conditions", ())
    )


def _cleaned(seen: Observed, spec: Spec) -> list[Action]:
    """The run is in a registry, and was read back: nothing of it has to stay here but the object."""
    told = f"the run is at {seen.status.get('artifact', '')}"
    name = service_name(seen.identity.name)
    if seen.service is None:
        ready = Condition("Ready", False, "CleanedUp", told)
        return [WriteStatus({}, (ready, Condition("CleanedUp", True, "CleanedUp", told)))]
    journal = spec.service.journal
    actions: list[Action] = []
    if journal.size and not journal.claim and not journal.keep:
        # first, so that both are asked for again after a crash; it goes when its pod has gone
        actions.append(Delete("PersistentVolumeClaim", name))
    actions.append(Delete("Deployment", name))
    ready = Condition("Ready", False, "CleaningUp", told)
    return [*actions, WriteStatus({}, (ready, Condition("CleanedUp", False, "CleaningUp", told)))]


def _made(seen: Observed, over: bool) -> list[Action]:
    assert isinstance(seen.read, Converted)
    spec = seen.read.spec
    if seen.service is None and spec.suspend:
        return [_waiting(seen, "Suspended", "it is suspended and has not begun", "Suspended")]
    if seen.service is None and seen.missing:
        told = "; ".join(
            f"this cluster has no {kind}: `{command}` installs it" for kind, command in seen.missing.items()
        )
        return [_waiting(seen, "MissingController", told), Wake(RETRY)]
    kinds = tuple(dict.fromkeys(member.kind for member in seen.read.ensemble.members.values()))
    settings = seen.settings
    if seen.service is not None:
        # another image would restart the pod, and no upgrade of the operator is a reason for that
        settings = msgspec.structs.replace(settings, image=seen.service.image)
    *others, deployment = children(seen.identity, spec, seen.file, kinds, settings)
    digest = digest_of([*others, deployment])
    deployment["metadata"]["annotations"] = {DIGEST: digest}
    actions: list[Action] = []
    if seen.service is None or seen.service.digest != digest or seen.fault or _stuck(seen, seen.service):
        actions += (Apply(manifest) for manifest in others)
        if seen.service is None or not seen.status.get("run"):
            actions.append(Apply(deployment))
        else:
            # a change of its pod would restart a run that goes on
            actions.append(Mark(deployment["metadata"]["name"], digest))
    if seen.fault:
        return [*actions, _waiting(seen, "CannotBeMade", seen.fault), Wake(RETRY)]
    if seen.service is None:
        return [*actions, _waiting(seen, "ServiceStarting", "its service pod is being made")]
    if seen.service.ready:
        ready = Condition("Ready", True, "ServiceReady", "its service pod runs")
        return [*actions, WriteStatus({}, (ready,))]
    if seen.service.trouble:
        return [*actions, _waiting(seen, "ServicePodTrouble", seen.service.trouble), Wake(RETRY)]
    waited = seen.now - seen.service.since
    if waited < PATIENCE or over:
        return [*actions, _waiting(seen, "ServiceStarting", "its service pod starts", degraded=False), Wake(PATIENCE)]
    return [
        *actions,
        _waiting(seen, "ServiceNotReady", f"its service pod is not ready after {waited:.0f} s"),
        Wake(RETRY),
    ]


def _stuck(seen: Observed, service: ServiceState) -> bool:
    """Whether the pod does not come up: something that it needs may have been deleted by hand."""
    return not service.ready and (bool(service.trouble) or seen.now - service.since >= PATIENCE)


def _waiting(
    seen: Observed, reason: str, text: str, phase: str = "Pending", degraded: bool | None = None
) -> WriteStatus:
    """There is no service pod that could say how it stands."""
    wrong = reason not in ("Suspended", "ServiceStarting") if degraded is None else degraded
    found = [Condition("Ready", False, reason, text)]
    if wrong:
        found.append(Condition("Degraded", True, reason, text))
    begun = bool(seen.status.get("run"))
    return WriteStatus(
        {} if begun else {"phase": phase, "reason": text, "observedGeneration": seen.generation}, tuple(found)
    )


def _failed(seen: Observed, error: ObjectError) -> WriteStatus:
    """The object makes no sense; with the webhook in place none such gets here."""
    text = str(error)
    found = (Condition("Ready", False, "Invalid", text),)
    if seen.status.get("run"):
        return WriteStatus({}, found)
    fields = {"phase": "Failed", "reason": text[:512], "observedGeneration": seen.generation}
    return WriteStatus(fields, (*found, Condition("Failed", True, "Invalid", text)))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
