"""How jobs ended: recorded, made durable, and only then sent to the engine."""

from __future__ import annotations

__all__ = ["Ends"]

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import remove_unkept
from ensemble.members.local.records import Ended, Exited, KeeperLog
from ensemble.members.local.recovery import Ref
from ensemble.members.local.running import Running
from ensemble.members.local.syncer import Syncer
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.failpoints import failpoint
from ensemble.model.jobs import JobSpec

SYNC_STUCK_SECONDS: Final = 15.0
"""After so long in one sync the disk is said not to answer."""


class Ends:
    """Every attempt that is known, and the ends on their way to the engine."""

    def __init__(
        self,
        name: str,
        log: KeeperLog,
        put: Callable[[JobEvent | MemberEvent], None],
        wake: Callable[[], None],
        ended: Mapping[Ref, JobEvent],
    ) -> None:
        """`put` sends an event in the member's name, `wake` may be called from any thread, `ended` is from before."""
        self._name = name
        self._log = log
        self._put = put
        self._wake = wake
        self.known: dict[Ref, JobEvent | None] = {**ended}
        """Every attempt that the keepers of this member had: its last event once that is durable."""
        self._held: deque[tuple[int, JobEvent]] = deque()
        """Ends that wait for their sync."""
        self._stuck = False
        self._reading = 0
        self._read: deque[tuple[Running, JobEvent]] = deque()
        """Ends whose figures have been read."""
        self._pool: ThreadPoolExecutor | None = None
        self._syncer = Syncer(log, wake)
        self._syncer.start()

    @property
    def pending(self) -> bool:
        """Whether an end is known that is not on its way to the engine."""
        return bool(self._held or self._reading)

    def finish(self, job: Running, status: int | None, event: JobEvent) -> None:
        """Record the end of a job that ran, by its wait status; first its figures of merit are read."""
        spec = job.spec
        if spec.outputs and status is not None:
            self._log.note(Exited(spec.ref.key, spec.ref.attempt, status))
            self._read_figures(job, event)
        else:
            self._finished(job, event)

    def _finished(self, job: Running, event: JobEvent) -> None:
        self.record(job.spec, event)
        remove_unkept(job.spec.keep, event.outcome, job.spec.workdir)

    def record(self, spec: JobSpec, event: JobEvent) -> None:
        """Record an end; the engine gets the event once the record is durable."""
        full = msgspec.structs.replace(
            event,
            member=self._name,
            key=spec.ref.key,
            attempt=spec.ref.attempt,
            time=event.time or time.time(),
        )
        failpoint("keeper.before-exit-record")
        self._log.note(Ended(full))
        self._held.append((self._syncer.want(), full))

    def _read_figures(self, job: Running, event: JobEvent) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2)
        self._reading += 1

        def work() -> None:
            outputs = job.spec.outputs
            try:
                figures, missing = read_figures(outputs, job.spec.workdir, job.files.stdout, job.files.stderr)
            except Exception:
                # whatever it was, the job has ended: its figures are what is missing
                figures, missing = {}, [output.name for output in outputs]
            self._read.append((job, msgspec.structs.replace(event, figures=figures or None, missing=tuple(missing))))
            self._wake()

        self._pool.submit(work)

    def send_durable(self) -> None:
        """Record the ends whose figures have been read, and send what has become durable."""
        while self._read:
            self._reading -= 1
            self._finished(*self._read.popleft())
        syncer = self._syncer
        if not syncer.is_alive():
            raise RuntimeError("the thread that makes ends durable is gone")
        done, error = syncer.done, syncer.error or syncer.late(SYNC_STUCK_SECONDS)
        if error and not self._stuck:
            text = f"its keeper cannot write down ends: {error}"
            self._put(MemberEvent(self._name, "fault", time.time(), text=text))
        self._stuck = bool(error)
        while self._held and self._held[0][0] <= done:
            _, event = self._held.popleft()
            self.known[event.key, event.attempt] = event
            self._put(event)
