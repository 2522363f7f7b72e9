"""The action `avoid`: no further job on a host."""

from __future__ import annotations

import re
from typing import Final

from ensemble.engine.actions.context import Action, Cause, Context
from ensemble.model.decisions import Avoid, Effect, Note
from ensemble.model.events import JobEvent
from ensemble.spec.actions import register_action
from ensemble.spec.model import ActionSpec

_HOSTS: Final = re.compile(r"(?:[^,\[]|\[[^\]]*\])+")
"""Each item of a list of hosts; a comma in brackets (`node[0-2,5]`) does not separate two."""


def _avoid(context: Context, action: ActionSpec, cause: Cause) -> list[Effect]:
    event = cause.event
    host = action.host
    if not host and isinstance(event, JobEvent):
        job = context.state.jobs.get(event.key)
        host = event.hosts or (job.hosts if job is not None else "")
    return [Avoid(tuple(_HOSTS.findall(host)))] if host else [Note("no-host", "avoid: the event names no host")]


register_action(
    Action(
        name="avoid",
        meaning="Run no further job on `host` (by default the hosts of the event's job).",
        keys=("host",),
        while_draining=True,
        effects=_avoid,
    )
)
