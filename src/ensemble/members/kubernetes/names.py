"""Names, labels and annotations of the objects that belong to an attempt."""

from __future__ import annotations

__all__ = ["MANAGED", "MEMBER", "PREFIX", "RUN_ID", "Identity", "object_name", "ref_of", "shortened"]

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from ensemble.model.jobs import AttemptRef

PREFIX: Final = "ensemble.flux-framework.org"
RUN_ID: Final = f"{PREFIX}/run-id"
MEMBER: Final = f"{PREFIX}/member"
_REF: Final = f"{PREFIX}/ref"
MANAGED: Final = "app.kubernetes.io/managed-by=ensemble"
"""The selector of everything that members make in a namespace."""

_NAME: Final = 45
"""Characters of a name: controllers add numbers and hashes to it, and the whole must be a DNS label of 63."""
_VALUE: Final = 63
_DIGITS: Final = 8


class Identity(NamedTuple):
    """Whose an object is: `id` tells runs of the same name apart."""

    run: str
    id: str
    member: str

    def labels(self, ref: AttemptRef) -> dict[str, str]:
        """What objects of an attempt are selected by; values that are too long are cut and end with a hash."""
        return {
            "app.kubernetes.io/managed-by": "ensemble",
            f"{PREFIX}/run": shortened(self.run),
            RUN_ID: self.id,
            MEMBER: shortened(self.member),
            f"{PREFIX}/key": shortened(ref.key),
            f"{PREFIX}/attempt": str(ref.attempt),
        }

    def annotations(self, ref: AttemptRef) -> dict[str, str]:
        """The whole ref, however long it is."""
        return {_REF: str(ref)}


def object_name(identity: Identity, ref: AttemptRef) -> str:
    """The name of the object of an attempt: always the same one, so that a second creation is a conflict."""
    full = f"{identity.run}-{ref.key}-{ref.attempt}"
    room = _NAME - _DIGITS - 1
    words = re.sub(r"[^a-z0-9]+", "-", full.lower()).strip("-")[:room].strip("-")
    # a DNS label of a service, which some controllers make of it, begins with a letter
    words = words if words[:1].isalpha() else f"e-{words}"[:room].strip("-")
    return f"{words}-{_hash(f'{identity.id}/{full}')}"


def shortened(text: str) -> str:
    """The text as the value of a label: as it is where that can be, else cut, with a hash of the whole."""
    fit = re.sub(r"[^A-Za-z0-9_.-]", "-", text)
    if fit == text and len(text) <= _VALUE and (not text or (text[0].isalnum() and text[-1].isalnum())):
        return text
    return f"{fit[: _VALUE - _DIGITS - 1].strip('-_.')}-{_hash(text)}".lstrip("-")


def ref_of(annotations: Mapping[str, str]) -> tuple[str, int] | None:
    """Key and attempt of the attempt that an object or pod belongs to."""
    key, _, attempt = annotations.get(_REF, "").rpartition("/")[2].rpartition(".")
    return (key, int(attempt)) if key and attempt.isdigit() else None


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_DIGITS]
