"""Who executes a ref, and what is told of it: read from journals as Flux writes them, without Flux."""

from __future__ import annotations

import itertools
import os
import pwd
from typing import Any

import msgspec
import pytest

from ensemble.members.flux.entries import Entry, Mark
from ensemble.members.flux.register import Register
from ensemble.members.flux.sizes import Sizes, read_sizes
from ensemble.members.flux.waiting import reasons
from ensemble.model.events import JobEvent, NativeEvent

REF = ("a-0", 1)


def entry(number: int, *events: dict[str, Any], **more: Any) -> Entry:
    return msgspec.convert({"id": number, "events": list(events), **more}, Entry)


def event(at: float, name: str, **context: Any) -> dict[str, Any]:
    return {"timestamp": at, "name": name, "context": context}


def submitted(number: int, at: float, key: str = "a-0", token: str = "t", urgency: int = 0) -> Entry:
    mark = Mark(token, "r", "m", key.rpartition("-")[0], key, 1)
    jobspec = {"attributes": {"user": {"ensemble": msgspec.to_builtins(mark)}}}
    return entry(number, event(at, "submit", urgency=urgency), jobspec=jobspec)


def register(released: dict[tuple[str, int], int] | None = None, wanted: tuple[str, ...] = ()) -> Register:
    return Register("m", "t", released or {}, lambda number: f"f{number}", wanted)


def told(*events: dict[str, Any]) -> list[JobEvent]:
    """What the engine hears of a job with these events."""
    one = register()
    one.learn([])
    one.follow(submitted(7, 1.0))
    return [found for found in one.follow(entry(7, *events)) if isinstance(found, JobEvent)]


class TestWhoExecutes:
    def test_of_two_jobs_with_one_ref_the_first_is_released_and_the_other_ends(self) -> None:
        one = register()
        one.learn([])
        one.follow(submitted(7, 1.0))
        one.follow(submitted(8, 2.0))
        assert [job.id for job in one.to_release] == [7]
        assert one.doubles == [8]

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_the_order_of_the_history_does_not_matter_but_that_of_submission(self, order: tuple[int, ...]) -> None:
        history = [submitted(9, 1.0), submitted(7, 2.0), submitted(8, 3.0)]
        one = register()
        one.learn([history[place] for place in order])
        assert [job.id for job in one.to_release] == [9]
        assert sorted(one.doubles) == [7, 8]

    def test_what_was_released_once_stays_the_one_although_flux_has_forgotten_it(self) -> None:
        one = register(released={REF: 7})
        one.learn([submitted(8, 2.0)])
        assert one.doubles == [8]
        assert not one.to_release
        assert (one.ends[REF].outcome, one.ends[REF].native_id) == ("lost", "f7")

    def test_what_ended_is_not_executed_again(self) -> None:
        one = register()
        one.learn(
            [submitted(7, 1.0), entry(7, event(2.0, "start"), event(3.0, "finish", status=0), event(4.0, "clean"))]
        )
        one.follow(submitted(8, 5.0))
        assert one.doubles == [8]
        assert one.ends[REF].outcome == "success"

    def test_jobs_of_other_tokens_are_counted_and_nothing_else(self) -> None:
        one = register()
        one.learn([submitted(7, 1.0, token="other"), entry(9, event(1.0, "submit"))])
        for number in (7, 9):
            one.count(entry(number, event(2.0, "alloc")))
        assert not one.first
        assert list(one.active.values()) == ["run", "run"]
        one.count(entry(7, event(3.0, "clean")))
        assert one.active == {9: "run"}


class TestWhatIsTold:
    def test_the_states_of_a_job_in_their_order_with_the_times_of_flux(self) -> None:
        events = told(
            event(1.1, "urgency", urgency=16),
            event(1.2, "priority", priority=16),
            event(2.0, "start"),
            event(3.0, "finish", status=0),
            event(3.5, "clean"),
        )
        assert [(one.state, one.time) for one in events] == [("sched", 1.2), ("run", 2.0), ("inactive", 3.0)]
        assert events[-1].start == 2.0

    def test_a_held_job_is_not_told_as_waiting(self) -> None:
        assert told(event(1.2, "priority", priority=0)) == []

    @pytest.mark.parametrize(
        ("events", "outcome", "reason", "code", "signal"),
        [
            ([event(2, "start"), event(3, "finish", status=0)], "success", "", 0, 0),
            ([event(2, "start"), event(3, "finish", status=3 << 8)], "failed", "exit", 3, 0),
            ([event(2, "start"), event(3, "finish", status=137 << 8)], "failed", "signal", -1, 9),
            ([event(2, "start"), event(3, "finish", status=11)], "failed", "signal", -1, 11),
            (
                [
                    event(2, "start"),
                    event(3, "exception", type="timeout", severity=0),
                    event(4, "finish", status=142 << 8),
                ],
                "failed",
                "walltime",
                -1,
                14,
            ),
            (
                [
                    event(2, "start"),
                    event(
                        3, "exception", type="exec", severity=0, note="task 0 (host h): start failed: x: No such file"
                    ),
                    event(4, "finish", status=127 << 8),
                ],
                "failed",
                "launch",
                -1,
                0,
            ),
            ([event(2, "exception", type="cancel", severity=0)], "cancelled", "cancelled", -1, 0),
            ([event(2, "exception", type="alloc", severity=0, note="unsatisfiable")], "failed", "refused", -1, 0),
            (
                [
                    event(2, "start"),
                    event(3, "exception", type="node-failure", severity=0),
                    event(4, "finish", status=9),
                ],
                "lost",
                "infrastructure",
                -1,
                9,
            ),
            ([event(2, "start")], "lost", "infrastructure", -1, 0),
            (
                [event(2, "start"), event(3, "finish", status=0), event(4, "exception", type="cancel", severity=0)],
                "success",
                "",
                0,
                0,
            ),
            (
                [event(2, "start"), event(3, "exception", type="x", severity=1), event(4, "finish", status=0)],
                "success",
                "",
                0,
                0,
            ),
        ],
    )
    def test_each_end_has_its_outcome_and_reason(
        self, events: list[dict[str, Any]], outcome: str, reason: str, code: int, signal: int
    ) -> None:
        end = told(*events, event(9, "clean"))[-1]
        assert (end.state, end.outcome, end.reason, end.exit_code, end.signal) == (
            "inactive", outcome, reason, code, signal,
        )  # fmt: skip

    def test_a_job_cancelled_by_hand_is_cancelled_at_the_time_of_flux_and_says_by_whom(self) -> None:
        cancel = event(3, "exception", type="cancel", severity=0, note="not needed", userid=os.getuid())
        end = told(cancel, event(3.5, "clean"))[-1]
        user = pwd.getpwuid(os.getuid()).pw_name
        assert (end.outcome, end.reason, end.time) == ("cancelled", "cancelled", 3.5)
        assert end.text == f"cancelled in Flux by {user}: not needed"

    def test_a_job_that_this_member_cancels_does_not_say_by_whom(self) -> None:
        one = register()
        one.learn([])
        one.follow(submitted(7, 1.0))
        one.jobs[7].cancelled = True
        cancel = event(3, "exception", type="cancel", severity=0, note="", userid=os.getuid())
        (end,) = one.follow(entry(7, cancel, event(3.5, "clean")))
        assert isinstance(end, JobEvent)
        assert (end.outcome, end.text) == ("cancelled", "")

    def test_native_events_are_told_by_name_and_never_from_the_history(self) -> None:
        one = register(wanted=("alloc",))
        one.learn([submitted(7, 1.0), entry(7, event(1.5, "alloc"))])
        found = one.follow(entry(7, event(2.0, "alloc", x=1), event(2.1, "start")))
        assert [type(item) for item in found] == [NativeEvent, JobEvent]
        assert isinstance(found[0], NativeEvent)
        assert found[0].data == {"x": 1}


SIZES = Sizes(2, 2, 0, 4, 4, 0, 0, 2)


class TestWhyJobsWait:
    """One job that was let go (unless it says otherwise), and what its journal says after that."""

    def why(self, *events: dict[str, Any], sizes: Sizes = SIZES, released: bool = True) -> dict[str, int]:
        one = register()
        one.learn([])
        one.follow(submitted(7, 1.0, urgency=16 if released else 0))
        one.follow(entry(7, event(1.5, "priority", priority=16), *events))
        return reasons(one.jobs.values(), sizes, {})

    def test_it_waits_for_resources_where_the_scheduler_says_nothing(self) -> None:
        assert self.why() == {"resources": 1}
        assert self.why(sizes=SIZES._replace(nodes_up=1)) == {"resources, 1 of 2 nodes down or drained": 1}

    def test_the_scheduler_s_own_words_come_first(self) -> None:
        told = event(2, "annotations", annotations={"sched": {"reason_pending": "insufficient resources"}})
        assert self.why(told) == {"insufficient resources": 1}
        assert self.why(told, event(3, "annotations", annotations={"sched": {"reason_pending": None}})) == {
            "resources": 1
        }
        assert self.why(told, event(3, "annotations", annotations=None)) == {"resources": 1}

    def test_an_expected_start_is_given(self) -> None:
        told = event(2, "annotations", annotations={"sched": {"t_estimate": 1795528173.8}})
        assert self.why(told) == {"resources, the first is expected to start at 13:49 UTC": 1}

    def test_what_is_held_says_by_whom(self) -> None:
        assert self.why(released=False) == {"held by this ensemble until Flux has confirmed it": 1}
        assert self.why(event(2, "urgency", urgency=0)) == {"held in Flux (urgency 0)": 1}

    def test_dependencies_are_named_by_their_kind_until_they_are_met(self) -> None:
        wait = event(2, "dependency-add", description="after-success=f7")
        assert self.why(wait) == {"dependency: after-success": 1}
        assert self.why(wait, event(3, "dependency-remove", description="after-success=f7")) == {"resources": 1}

    def test_a_stopped_queue_is_named_with_its_reason(self) -> None:
        one = register()
        one.learn([])
        one.follow(submitted(7, 1.0, urgency=16))
        assert reasons(one.jobs.values(), SIZES, {"": "maintenance"}) == {"the queue is stopped: maintenance": 1}
        assert reasons(one.jobs.values(), SIZES, {"other": "maintenance"}) == {"resources": 1}

    @pytest.mark.parametrize("name", ["alloc", "start"])
    def test_a_job_with_resources_does_not_wait(self, name: str) -> None:
        assert self.why(event(2, name)) == {}


def test_sizes_count_what_is_up_and_what_is_free() -> None:
    def part(ranks: str, cores: str, gpus: str = "") -> dict[str, Any]:
        return {"rank": ranks, "children": {"core": cores, **({"gpu": gpus} if gpus else {})}}

    answer = {
        "all": {"execution": {"R_lite": [part("0-2", "0-7", "0-1"), part("3", "0,2,4-5")]}},
        "allocated": {"execution": {"R_lite": [part("0", "0-3")]}},
        "down": {"execution": {"R_lite": [part("2", "0-7")]}},
    }
    sizes = read_sizes(msgspec.json.encode(answer).decode())
    assert (sizes.nodes_all, sizes.nodes_up, sizes.nodes_free) == (4, 3, 2)
    assert (sizes.cores_all, sizes.cores_up, sizes.cores_free) == (28, 20, 16)
    assert (sizes.gpus_up, sizes.cores_per_node) == (4, 8)
