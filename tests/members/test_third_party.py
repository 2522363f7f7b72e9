"""A member of another package: the example passes the suite, is found by its entry point, and broken it fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ensemble.members.contract import Accepted, CloseMode, Context, Hello, Member, Receipt, Refused
from ensemble.model.errors import MemberError
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.testing import MemberConformance, MemberHarness

EXAMPLE = Path(__file__).parents[2] / "examples" / "member"
sys.path.insert(0, str(EXAMPLE))
from ensemble_processes import Job, ProcessMember  # noqa: E402


class ProcessHarness(MemberHarness):
    def member(self) -> Member:
        return ProcessMember()


class TestProcesses(MemberConformance):
    harness_type = ProcessHarness


def test_it_is_found_by_its_entry_point_and_runs_an_ensemble(tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    # what an installation of the example leaves behind
    info = tmp_path / "site" / "ensemble_processes-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ensemble-processes\nVersion: 0.1.0\n")
    points = project["entry-points"]["ensemble.members"]
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[ensemble.members]\n{lines}")
    (tmp_path / "file.yaml").write_text(
        "name: third\nmembers: {mine: {kind: processes, cores: 4}}\n"
        "jobs: [{name: a, command: 'true', count: 20}, {name: b, command: 'true', submit: rules}]\n"
        "rules: [{trigger: job-success, name: a, action: {name: submit, label: b, repetitions: 5}}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ensemble", "run", "file.yaml"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ENSEMBLE_HOME": str(tmp_path / "home"),
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(EXAMPLE)]),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "runs").glob("*/jobs/a-*"))) == 20
    assert len(list((tmp_path / "runs").glob("*/jobs/b-*"))) == 5


# ---- the suite itself: each fault is found by the promise that names it -------------------------------


class EndsTwice(ProcessMember):
    def _end(self, job: Job, **how: Any) -> None:
        super()._end(job, **how)
        super()._end(job, **how)


class RunsAgain(ProcessMember):
    async def open(self, context: Context) -> Hello:
        hello = await super().open(context)
        return Hello(hello.capabilities | {"exactly-once"}, hello.stream, cores_up=4)

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        for job in jobs:
            self.jobs.pop(job.ref, None)
        return await super().submit(batch, jobs)


class CountsFrom0(ProcessMember):
    def __init__(self) -> None:
        super().__init__()
        self.n = 1


class DropsWhenShut(ProcessMember):
    async def _tell(self, context: Context) -> None:
        while True:
            await self.news.wait()
            self.news.clear()
            batch, self.outbox = self.outbox, []
            try:
                async with asyncio.timeout(0.01):
                    await context.sink.put(batch)
            except TimeoutError:
                pass


class ForgetsSignals(ProcessMember):
    def _end(self, job: Job, **how: Any) -> None:
        super()._end(job, **{**how, "signal": 0})


class CancelsAllAttempts(ProcessMember):
    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        keys = {ref.key for ref in refs}
        await super().cancel([ref for ref in self.jobs if ref.key in keys], grace)
        return [Accepted() for _ in refs]


class HasNoMercy(ProcessMember):
    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        for ref in refs:
            job = self.jobs[ref]
            job.why = "cancelled"
            if job.process is not None:
                self._kill_for_good(job.process)
        return [Accepted() for _ in refs]


class TakesAnyEpoch(ProcessMember):
    async def open(self, context: Context) -> Hello:
        self.context = None
        return await super().open(context)


class TakesAnything(ProcessMember):
    def _take(self, spec: JobSpec) -> Receipt:
        found = super()._take(spec)
        return Accepted() if isinstance(found, Refused) else found


class SendsOldAgain(ProcessMember):
    async def _tell(self, context: Context) -> None:
        told = [job.last for job in self.jobs.values() if job.last is not None]
        if told:
            await context.sink.put(told)
        await super()._tell(context)


class TellsAfterClose(ProcessMember):
    async def close(self, mode: CloseMode) -> None:
        if mode == "cancel":
            await super().close(mode)


class ReadsAnyFile(ProcessMember):
    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        try:
            return await super().fetch(ref, path, offset, limit)
        except MemberError:
            return b""


class DrainsNothing(ProcessMember):
    async def close(self, mode: CloseMode) -> None:
        await super().close("detach" if mode == "drain" else mode)


FAULTS: list[tuple[type[ProcessMember], str]] = [
    (EndsTwice, "each_attempt_ends_exactly_once_whatever_its_end"),
    (RunsAgain, "a_batch_sent_twice_is_answered_the_same_and_runs_once"),
    (RunsAgain, "a_ref_in_another_batch_is_accepted_and_runs_once"),
    (CountsFrom0, "events_of_an_attempt_come_in_order_and_n_rises_by_one_from_1"),
    (DropsWhenShut, "a_sink_that_blocks_loses_nothing_and_changes_no_order"),
    (ForgetsSignals, "an_end_by_signal_9_is_failed_for_signal"),
    (CancelsAllAttempts, "a_retry_is_another_attempt_and_a_late_cancel_of_the_first_does_not_touch_it"),
    (HasNoMercy, "a_cancelled_job_has_its_grace_to_put_things_in_order"),
    (TakesAnyEpoch, "a_lower_epoch_is_refused_for_good_and_disturbs_nobody"),
    (TakesAnything, "an_impossible_job_is_refused_for_good_with_the_reason"),
    (SendsOldAgain, "an_engine_that_comes_back_hears_what_is_new_and_nothing_twice"),
    (TellsAfterClose, "no_event_is_put_after_close_has_returned"),
    (ReadsAnyFile, "fetch_of_what_is_not_there_or_not_the_jobs_raises_a_lasting_member_error"),
    (DrainsNothing, "after_a_drain_what_ran_has_ended_by_itself"),
]


@pytest.mark.parametrize(("broken", "promise"), FAULTS, ids=lambda it: it if isinstance(it, str) else it.__name__)
def test_a_member_with_a_fault_fails_the_promise_that_names_it(
    broken: type[ProcessMember], promise: str, tmp_path: Path
) -> None:
    class Harness(MemberHarness):
        patience = 3.0

        def member(self) -> Member:
            return broken()

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(MemberConformance, f"test_{promise}")(None, Harness(tmp_path))


def test_the_lines_of_the_document_are_a_whole_suite() -> None:
    document = (EXAMPLE.parents[1] / "docs" / "members.md").read_text()
    found: dict[str, Any] = {"__name__": "document"}
    exec(document.split("```python\n")[1].split("```")[0], found)
    promises = [name for name in dir(found["TestProcesses"]) if name.startswith("test_")]
    assert len(promises) > 45
    assert isinstance(found["TestProcesses"].harness_type(EXAMPLE).member(), ProcessMember)
