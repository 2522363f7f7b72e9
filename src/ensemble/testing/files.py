"""Promises about what a job sees, what it leaves, and what is read from it."""

from __future__ import annotations

__all__ = ["FilePromises"]

import pytest

from ensemble.model.errors import MemberError
from ensemble.model.jobs import OutputSpec
from ensemble.testing.bench import Bench, live
from ensemble.testing.harness import Do


class FilePromises:
    """Environment, work directory, output, figures."""

    @live
    async def test_a_job_has_the_environment_of_its_description_to_the_letter(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        odd = "two words, 'quotes' \"double\" $HOME `x` \\ é\ttab"
        script = "\n".join(
            (
                'printf "%s\\n" "$ENSEMBLE_RUN" "$ENSEMBLE_GROUP" "$ENSEMBLE_KEY" "$ENSEMBLE_ATTEMPT"',
                'printf "%s" "$ODD"',
            )
        )
        job = bench.harness.job("a-0", Do(script=script), attempt=2, env={"ODD": odd})
        await bench.run(member, job)
        output = (await member.fetch(job.ref, "stdout", 0, 10_000)).decode()
        assert output == f"{bench.harness.run}\na\na-0\n2\n{odd}"

    @live
    async def test_a_job_starts_in_its_work_directory_with_nothing_on_its_standard_input(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        job = bench.harness.job("a-0", Do(script='pwd -P; cat; echo "after"; pwd -P > here'))
        assert (await bench.run(member, job)).outcome == "success"
        there = (bench.harness.folder / "jobs" / "a-0").resolve()
        assert (await member.fetch(job.ref, "stdout", 0, 10_000)).decode() == f"{there}\nafter\n"
        assert (there / "here").read_text() == f"{there}\n"

    @live
    async def test_a_script_runs_under_sh_and_stops_at_the_first_error(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        job = bench.harness.job("a-0", command=(), script="echo one\nfalse\necho two\n")
        event = await bench.run(member, job)
        assert (event.outcome, event.exit_code) == ("failed", 1)
        assert await member.fetch(job.ref, "stdout", 0, 100) == b"one\n"

    @live
    async def test_fetch_reads_by_offset_and_limit_and_nothing_past_the_end(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        job = bench.harness.job("a-0", Do(prints="0123456789", script="echo oops >&2"))
        await bench.run(member, job)
        assert await member.fetch(job.ref, "stdout", 0, 1000) == b"0123456789"
        assert await member.fetch(job.ref, "stdout", 3, 4) == b"3456"
        assert await member.fetch(job.ref, "stdout", 8, 100) == b"89"
        assert await member.fetch(job.ref, "stdout", 10, 100) == b""
        assert await member.fetch(job.ref, "stdout", 99, 100) == b""
        assert await member.fetch(job.ref, "stdout", 0, 0) == b""
        assert await member.fetch(job.ref, "stderr", 0, 100) == b"oops\n"

    @live
    async def test_fetch_of_what_is_not_there_or_not_the_jobs_raises_a_lasting_member_error(self, bench: Bench) -> None:
        member = await bench.open()
        job = bench.harness.job("a-0")
        await bench.run(member, job)
        wrong = [(job.ref, "no-such-file"), (bench.harness.ref("nobody-7"), "stdout"), (job.ref, "../../ledger")]
        for ref, path in [*wrong, (job.ref, "/etc/passwd")]:
            with pytest.raises(MemberError) as error:
                await member.fetch(ref, path, 0, 100)
            assert not error.value.transient
            assert str(error.value)

    @live
    async def test_figures_ride_on_the_finish_event_and_a_mismatch_is_named(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        bench.needs("figures")
        outputs = (
            OutputSpec("speed", pattern=r"speed ([\d.]+)"),
            OutputSpec("first", pattern=r"speed ([\d.]+)", take="first"),
            OutputSpec("energy", source="result.json", pointer="/a/1"),
            OutputSpec("nothing", pattern=r"nothing ([\d.]+)"),
            OutputSpec("nowhere", source="no-such-file", pattern="(.*)"),
        )
        do = Do(script="echo speed 1.5; echo speed 2.5; echo '{\"a\": [0, -7]}' > result.json")
        event = await bench.run(member, bench.harness.job("a-0", do, outputs=outputs))
        assert event.outcome == "success"
        assert event.figures == {"speed": 2.5, "first": 1.5, "energy": -7.0}
        assert sorted(event.missing) == ["nothing", "nowhere"]

    @live
    async def test_two_attempts_share_a_work_directory_and_not_their_output(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        first = bench.harness.job("a-0", Do(prints="one", script="echo checkpoint > state", exit_code=3))
        second = bench.harness.job("a-0", Do(script="cat state"), attempt=2)
        await bench.run(member, first)
        assert (await bench.run(member, second)).outcome == "success"
        assert await member.fetch(first.ref, "stdout", 0, 100) == b"one"
        assert await member.fetch(second.ref, "stdout", 0, 100) == b"checkpoint\n"
