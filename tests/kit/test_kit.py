"""What the back ends share, each part by itself."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from ensemble.members.kit.epoch import EpochGuard
from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.options import check_options, is_yes, seconds
from ensemble.members.kit.outbox import Outbox
from ensemble.members.kit.program import job_program
from ensemble.members.kit.records import DurableLog
from ensemble.members.kit.work import Work, retry
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import AttemptRef, JobSpec, OutputSpec
from ensemble.testing.bench import RecordingSink


def test_an_event_stays_in_the_outbox_until_the_sink_has_taken_it() -> None:
    async def body() -> None:
        sink = RecordingSink()
        sink.gate.clear()
        outbox, work = Outbox("m", sink), Work("m", pytest.fail)
        work.start(outbox.deliver())
        for key in ("a-0", "a-1"):
            outbox.put(JobEvent("m", key, "run"))
        await sink.waiting.wait()
        assert len(outbox) == 2
        sink.gate.set()
        await outbox.drained(lambda: False)
        assert sink.numbers() == [1, 2]
        await work.stop()

    asyncio.run(body())


def test_a_member_goes_down_once_and_nobody_waits_for_it_any_more() -> None:
    async def body() -> None:
        outbox = Outbox("m", RecordingSink())
        outbox.go_down("first")
        outbox.go_down("second")
        await outbox.drained(lambda: True)
        assert [(event.name, event.text) for event in outbox.waiting if isinstance(event, MemberEvent)] == [
            ("down", "first")
        ]

    asyncio.run(body())


def test_what_a_background_task_raises_is_reported() -> None:
    async def body() -> None:
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        work = Work("m", failed.set_result)

        async def broken() -> None:
            raise RuntimeError("unforeseen")

        work.start(broken())
        assert str(await failed) == "unforeseen"

    asyncio.run(body())


def test_what_does_not_end_is_killed_after_its_grace_and_not_when_the_member_is_closed() -> None:
    async def body() -> None:
        killed = asyncio.Event()

        async def kill() -> None:
            killed.set()
            raise MemberError("it does not answer")

        work = Work("m", pytest.fail)
        work.kill_later(3600.0, kill)
        await work.stop()
        assert not killed.is_set()
        work.kill_later(0.0, kill)
        await killed.wait()
        await work.stop()

    asyncio.run(body())


@pytest.mark.parametrize(("transient", "asked"), [(True, 3), (False, 1)])
def test_a_question_is_repeated_while_the_failure_may_pass(transient: bool, asked: int) -> None:
    answers = iter([MemberError("no", transient=transient)] * 2)
    count = 0

    async def ask() -> str:
        nonlocal count
        count += 1
        for error in answers:
            raise error
        return "yes"

    async def body() -> None:
        if transient:
            assert await retry(ask, 60.0, 0.0) == "yes"
        else:
            with pytest.raises(MemberError):
                await retry(ask, 60.0, 0.0)

    asyncio.run(body())
    assert count == asked


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(MemberError, match=r"unknown option 'partitoin' of a Slurm member; did you mean 'partition'\?"):
        check_options({"partitoin": 1}, ("partition", "account"), "a Slurm member")
    check_options({"account": 1}, ("partition", "account"), "a Slurm member")


def test_options_are_read_as_numbers_and_as_words() -> None:
    assert (seconds(15, "poll"), seconds("2m", "poll")) == (15.0, 120.0)
    assert [is_yes(word) for word in (True, "yes", False, "no", "off", 0)] == [True, True, False, False, False, False]
    for wrong in (0, -1, True, "soon", None):
        with pytest.raises(MemberError, match="poll"):
            seconds(wrong, "poll")


def test_an_older_engine_is_refused(tmp_path: Path) -> None:
    guard = EpochGuard(tmp_path)
    assert guard.current() == 0
    guard.take(2)
    guard.take(2)
    with pytest.raises(MemberError, match="newer engine"):
        guard.take(1)
    assert EpochGuard(tmp_path).current() == 2


def test_a_torn_line_stays_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"whole\ntor")
    log = DurableLog()
    log.open(tmp_path / "log")
    log.append(b"next\n")
    log.close()
    assert (tmp_path / "log").read_bytes().split(b"\n") == [b"whole", b"tor", b"next", b""]


@pytest.mark.parametrize(
    ("fields", "phase", "code"),
    [
        ({"setup": "exit 7"}, "setup\n", 7),
        ({"script": "exit 5", "cleanup": ":"}, None, 5),
        ({"cleanup": "exit 3"}, "cleanup\n", 3),
        ({"setup": "X=1", "script": "#!/bin/bash\n[[ -z $X ]]"}, None, 0),
    ],
    ids=["setup", "program", "cleanup", "first-line"],
)
def test_the_part_of_a_script_that_failed_is_told(
    tmp_path: Path, fields: dict[str, str], phase: str | None, code: int
) -> None:
    files = JobFiles(str(tmp_path), "a-0", 1)
    Path(files.folder).mkdir(parents=True)
    command = () if "script" in fields else ("true",)
    spec = JobSpec(AttemptRef("r", "a-0"), "a", ".", command=command, **fields)  # type: ignore[arg-type]
    program = job_program(spec, files, ())
    for path, text in program.files.items():
        Path(path).write_text(text)
    assert subprocess.run(program.words, check=False).returncode == code
    assert (Path(files.phase).read_text() if Path(files.phase).exists() else None) == phase


def test_a_pattern_without_a_number_can_be_counted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Solution Validates\nno\nSolution Validates\n")
    output = OutputSpec("validated", source="log", pattern="Solution Validates", take="count")
    assert read_figures([output], str(tmp_path), "", "") == ({"validated": 2.0}, [])
