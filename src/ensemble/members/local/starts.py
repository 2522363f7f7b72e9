"""The jobs that wait in the keeper's queue, and how they are started: in order, and on slots that they hold.

`starting` is written, then the process is spawned, and `started` is written before the next spawn. A job's stdout is
created exclusively by the job's own process before the program begins: this file is the claim, and a second start of
the same attempt fails on it.
"""

from __future__ import annotations

__all__ = ["Starts"]

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

from ensemble.members.kit.program import base_environment
from ensemble.members.kit.staging import StagingError
from ensemble.members.local.ends import Ends
from ensemble.members.local.prepare import Waiting
from ensemble.members.local.records import KeeperLog, Started, Starting
from ensemble.members.local.recovery import TICKS, Ref
from ensemble.members.local.running import NO_STORAGE, Running, spawn
from ensemble.members.local.slots import Placement, Slots
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.failpoints import failpoint
from ensemble.model.jobs import JobSpec

SPAWNS_A_TURN: Final = 64
PREPARED: Final = 16
"""How many of the next jobs are made ready while they wait for a slot."""
ROOM_SECONDS: Final = 1.0
"""Between two attempts to start a job on a full disk."""


class Starts:
    """The queue, and the slots that its jobs are started on."""

    def __init__(
        self,
        run_dir: str,
        name: str,
        log: KeeperLog,
        ends: Ends,
        put: Callable[[JobEvent | MemberEvent], None],
        started: Callable[[Running], None],
    ) -> None:
        """`put` sends an event in the member's name; `started` is called with each process."""
        self._run_dir = run_dir
        self._name = name
        self._log = log
        self._ends = ends
        self._put = put
        self._started = started
        self._base = {**base_environment(), "ENSEMBLE_RUN_DIR": run_dir}
        self.slots = Slots(0, 0, 0)
        self.most_nodes = 0
        """As many nodes as there can ever be: what does not fit on them is refused."""
        self.queue: OrderedDict[Ref, Waiting] = OrderedDict()
        self.can_start = False
        """Whether something has changed since the first of the queue did not fit."""
        self._prepared = 0
        """How many at the head of the queue were made ready ahead."""
        self._no_room = ""
        """Why nothing can be started at present."""
        self._room_at = 0.0

    # ---- the queue ---------------------------------------------------------------------------------

    def submit(self, spec: JobSpec) -> str:
        """Put a job at the end of the queue unless it is known; return why it can never run, else nothing."""
        ref = (spec.ref.key, spec.ref.attempt)
        if ref in self._ends.known:
            return ""
        never = self.slots.never(spec.resources, self.most_nodes)
        if not never:
            self._ends.known[ref] = None
            self.queue[ref] = Waiting(spec, self._run_dir)
            self.can_start = True
        return never

    def cancel(self, ref: Ref) -> None:
        """End a job that waits; nothing for any other."""
        waiting = self.queue.pop(ref, None)
        if waiting is not None:
            self._prepared = 0
            self.can_start = True
            self._ends.record(waiting.spec, JobEvent("", "", "inactive", outcome="cancelled", reason="cancelled"))

    def give_back(self, placement: Placement) -> None:
        """Free what a job held."""
        self.slots.free(placement)
        self.can_start = True

    def due(self) -> float:
        """When (monotonic seconds) something can be started: 0 for now, infinity when only others can change that."""
        if not self.queue:
            return float("inf")
        if self.can_start:
            return 0.0
        return self._room_at if self._no_room else float("inf")

    def why_they_wait(self) -> dict[str, int]:
        """What the first of the waiting jobs lacks: the others wait behind it."""
        if not self.queue:
            return {}
        need, sizes = next(iter(self.queue.values())).spec.resources, self.slots.sizes()
        if self._no_room:
            why = f"room on the disk: {self._no_room}"
        elif need.total_gpus > (free := self.slots.gpus_free()):
            gpus = sizes["gpus_up"]
            why = f"GPUs: {gpus - free} of {gpus} busy"
        else:
            cores = sizes["cores_up"]
            why = f"cores: {cores - sizes['cores_free']} of {cores} busy"
        return {why: len(self.queue)}

    # ---- starting ----------------------------------------------------------------------------------

    def start_some(self) -> None:
        """Start what fits, the first of the queue first."""
        if self._no_room and self._room_at <= time.monotonic():
            self.can_start = True
        for _ in range(SPAWNS_A_TURN):
            if not self.queue or not self.can_start:
                return
            ref, waiting = next(iter(self.queue.items()))
            placement = self.slots.place(waiting.spec.resources)
            if placement is None:
                self.can_start = False
                return
            self._prepared = max(0, self._prepared - 1)
            del self.queue[ref]
            self._start(waiting, placement)

    def _start(self, waiting: Waiting, placement: Placement) -> None:
        spec, files = waiting.spec, waiting.files
        key, attempt = waiting.ref
        try:
            gpus = tuple(gpu for _, _, ids in placement for gpu in ids)
            argv, env = waiting.prepare(self._base, gpus if self.slots.gpus else None)
            os.chdir(spec.workdir)
            self._log.write(Starting(spec))
            failpoint("keeper.before-spawn")
            pid = spawn(argv, env, files)
        except (MemberError, StagingError, OSError, ValueError) as error:
            if self._lacks_room(error):
                self._wait_for_room(waiting, placement, error)
            else:
                self._not_started(spec, placement, error)
            return
        failpoint("keeper.after-spawn")
        self._no_room = ""
        start = time.time()
        ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS)
        self._log.note(Started(key, attempt, pid, ticks, start))
        self._started(Running(spec, files, pid, placement, start, ticks))
        hosts = ",".join(node.name for node, _, _ in placement) if len(self.slots.nodes) > 1 else ""
        self._put(JobEvent(self._name, key, "run", start, 0, attempt, native_id=str(pid), hosts=hosts))

    def prepare_ahead(self) -> None:
        """Make the next jobs ready while the slots are taken."""
        if self._prepared < min(len(self.queue), PREPARED):
            for waiting in islice(self.queue.values(), self._prepared, PREPARED):
                waiting.prepare_ahead(self._base, () if self.slots.gpus else None)
                self._prepared += 1

    def _lacks_room(self, error: Exception) -> bool:
        """Whether the error is of the run's own disk, where all jobs' files go, and not of a disk that a job names."""
        if not isinstance(error, OSError) or error.errno not in NO_STORAGE:
            return False
        return error.filename is None or str(error.filename).startswith(f"{self._run_dir}/")

    def _wait_for_room(self, waiting: Waiting, placement: Placement, error: Exception) -> None:
        """It stays the first of the queue: a disk that is full for a while is no reason to fail all that waits."""
        self.slots.free(placement)
        self.queue[waiting.ref] = waiting
        self.queue.move_to_end(waiting.ref, last=False)
        self._prepared = 0
        self.can_start = False
        self._room_at = time.monotonic() + ROOM_SECONDS
        if not self._no_room:
            text = f"no job can be started until the disk can be written again: {error}"
            self._put(MemberEvent(self._name, "fault", time.time(), text=text))
        self._no_room = str(error)

    def _not_started(self, spec: JobSpec, placement: Placement, error: Exception) -> None:
        self.give_back(placement)
        text = str(error)
        outcome, reason = "failed", "launch"
        if isinstance(error, StagingError):
            reason = "inputs"
        elif isinstance(error, OSError):
            if error.errno in NO_STORAGE:
                reason = "storage"
            elif error.errno == errno.EEXIST:
                # an earlier process claimed this attempt and left no record of its end: it is not run again
                outcome, reason, text = "lost", "infrastructure", "the attempt was started before; its end is unknown"
            text = text or os.strerror(error.errno or 0)
        self._ends.record(spec, JobEvent("", "", "inactive", outcome=outcome, reason=reason, text=text))
