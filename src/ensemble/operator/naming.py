"""Names and labels of what the operator makes."""

from __future__ import annotations

__all__ = ["DIGEST", "ENSEMBLE", "MANAGER", "SELECTOR", "Identity", "labels", "owner", "service_name"]

from hashlib import sha256
from typing import Any, Final

from msgspec import Struct

from ensemble.operator.resource import GROUP, KIND, VERSION

ENSEMBLE: Final = f"{GROUP}/ensemble"
"""The label with the name of the Ensemble (cut, with a hash, where it is too long)."""

DIGEST: Final = f"{GROUP}/digest"
"""The annotation of the Deployment with the digest of everything that was made together with it."""

MANAGER: Final = "ensemble-operator"
"""The field manager of the operator, and its value of `app.kubernetes.io/managed-by`."""

SELECTOR: Final = f"app.kubernetes.io/managed-by={MANAGER}"

_ROOM: Final = 52
"""Characters of a name: a pod's adds a hash of the template and one of its own, and all must be 63."""


class Identity(Struct, frozen=True):
    """Which Ensemble."""

    namespace: str
    name: str
    uid: str


def shortened(text: str, room: int) -> str:
    """The text, cut and with a hash of the whole at its end where it is longer than `room` characters."""
    if len(text) <= room:
        return text
    return f"{text[: room - 9].rstrip('-.')}-{sha256(text.encode()).hexdigest()[:8]}"


def service_name(name: str) -> str:
    """The name of everything that is made for an Ensemble."""
    return f"{shortened(name.replace('.', '-'), _ROOM - len('-ensemble'))}-ensemble"


def run_name(identity: Identity) -> str:
    """The name of its run; another object of the same name is another run."""
    return f"{shortened(identity.name.replace('.', '-'), 40)}-{identity.uid[:5]}"


def labels(identity: Identity) -> dict[str, str]:
    """What these objects are found by."""
    return {
        "app.kubernetes.io/name": "ensemble",
        "app.kubernetes.io/component": "service",
        "app.kubernetes.io/managed-by": MANAGER,
        ENSEMBLE: shortened(identity.name, 63),
    }


def owner(identity: Identity) -> dict[str, Any]:
    """The reference by which Kubernetes deletes an object together with its Ensemble."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": identity.name,
        "uid": identity.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
