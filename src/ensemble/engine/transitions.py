"""The legal moves of a job between its states, each with a name. Nothing else changes the state of a job.

The one state that a job passes through between two events is `inactive`: what follows an attempt that is over is
decided at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from ensemble.model.errors import InvariantError
from ensemble.model.jobs import STATES

if TYPE_CHECKING:
    from ensemble.engine.state import Job

NEW, SUBMITTED, DEPEND, SCHED, RUN, CLEANUP, INACTIVE = range(len(STATES))

CODES: Final = {state: code for code, state in enumerate(STATES)}
"""Each state's place in the legal order. Reports of a member only ever move a job to a higher one."""

_WITH_A_MEMBER: Final = frozenset(range(SUBMITTED, INACTIVE))


class Move(NamedTuple):
    """A move: the states it may start in, and where it ends. -1: in the later state that a member reports."""

    before: frozenset[int]
    after: int


MOVES: Final = {
    # it is handed to a member
    "submit": Move(frozenset({NEW}), SUBMITTED),
    # its member reports a later state; states in between may be missing
    "report": Move(_WITH_A_MEMBER, -1),
    # its queue started it again by itself: a new incarnation of the same attempt
    "restart": Move(_WITH_A_MEMBER, SUBMITTED),
    # its member refused it, or proved it gone
    "lose": Move(_WITH_A_MEMBER, INACTIVE),
    # its member never had it: it goes again under the same attempt
    "unsend": Move(frozenset({SUBMITTED, DEPEND, SCHED}), NEW),
    # its attempt is over and another follows
    "retry": Move(frozenset({INACTIVE}), NEW),
    # it is over for good, also one that waits here and is not wanted any more
    "finish": Move(frozenset({NEW, INACTIVE}), INACTIVE),
}


def move(job: Job, name: str) -> None:
    """Make a move. Raises `InvariantError` with the history of the job when it is not legal."""
    before, after = MOVES[name]
    if job.code not in before:
        refuse(job, name)
    job.code = after


def refuse(job: Job, name: str) -> NoReturn:
    """Raise `InvariantError` for a move that is not legal, with the history of the job."""
    raise InvariantError(f"{name} is no legal move of a job in state {STATES[job.code]}: {history(job)}")


def history(job: Job) -> str:
    """What is known of how a job came to where it is. Times in seconds: on the run's clock, or on its member's."""
    parts = [f"attempt {job.attempt}, {STATES[job.code]}"]
    if job.member:
        parts.append(f"submitted to {job.member} at {job.submitted_at:.3f}")
    if job.run_at:
        parts.append(f"running since {job.run_at:.3f} (its member's {job.run_time:.3f})")
    if job.ended:
        parts.append(f"ended at its member's {job.ended:.3f}")
    if job.incarnation:
        parts.append(f"incarnation {job.incarnation}")
    if job.cancelling:
        parts.append("being cancelled")
    if job.retries or job.losses:
        parts.append(f"failed {job.retries} and lost {job.losses} attempts before")
    return f"{job.key}: {', '.join(parts)}"
