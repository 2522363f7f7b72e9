"""A run's records as lines for a person."""

from ensemble.model.decisions import Create, Finish, Firing, Note, Record, Resize, Span, Upkeep
from ensemble.model.events import JobEvent, MemberEvent, Requested, RunStarted, SubmitAnswered, TimerFired
from ensemble.report.messages import FIRINGS, FIRST, Messages


class Watched:
    """Messages of records that are numbered and timed here."""

    def __init__(self):
        self.messages = Messages()
        self.seq = 0
        self.lines(RunStarted("demo-1", {}, "0", run_dir="runs/demo-1"), at=0.0)

    def lines(self, event, *steps, at=1.0):
        self.seq += 1
        return [line.text for line in self.messages.add(Record(self.seq, at, event, steps))]

    def fails(self, key, at=1.0, exit_code=1, attempt=1):
        over = JobEvent("m", key, "inactive", attempt=attempt, outcome="failed", reason="exit", exit_code=exit_code)
        return self.lines(over, at=at)


def test_three_thousand_failures_are_three_lines_and_a_count():
    watched = Watched()
    lines = [line for n in range(3000) for line in watched.fails(f"melt-{n}")]
    assert lines == [
        "melt-0 failed, exit code 1 (`ensemble logs demo-1 melt-0`)",
        "melt-1 failed, exit code 1",
        "melt-2 failed, exit code 1",
    ]
    assert [line.text for line in watched.messages.rest()] == [
        f"{3000 - FIRST:,} more jobs of melt failed like melt-0 (exit code 1): 3,000 so far"
    ]
    assert watched.messages.rest() == []


def test_another_reason_has_lines_of_its_own():
    watched = Watched()
    assert watched.fails("melt-0")
    assert watched.fails("melt-1", exit_code=7, attempt=2) == [
        "melt-1, attempt 2 failed, exit code 7 (`ensemble logs demo-1 melt-1`)"
    ]


def test_what_was_counted_is_summed_up_every_ten_seconds():
    watched = Watched()
    for n in range(5):
        watched.fails(f"melt-{n}")
    assert watched.lines(TimerFired(), at=9.0) == []
    assert watched.lines(TimerFired(), at=10.0) == ["2 more jobs of melt failed like melt-0 (exit code 1): 5 so far"]


def test_a_firing_says_what_it_read_and_what_follows():
    effects = (Create(Span("melt", 0, 4, 2)), Resize(3, "local", 1), Note("resize-bound", "grow: local stays"))
    assert Watched().lines(TimerFired(), Firing("repeat", {"mean.melt.p": 0.25, "std.melt.p": None}, effects)) == [
        "repeat fired (mean.melt.p = 0.25, std.melt.p = unknown): "
        "2 jobs of melt; local is to have 1 node; grow: local stays"
    ]


def test_a_rule_that_fires_often_is_counted_after_a_while():
    watched = Watched()
    lines = [line for _ in range(50) for line in watched.lines(TimerFired(), Firing("r"))]
    assert lines == ["r fired"] * FIRINGS
    assert [line.text for line in watched.messages.rest()] == ["r fired 40 more times: 50 so far"]


def test_an_outage_is_told_from_its_beginning_to_its_end():
    watched = Watched()
    assert watched.lines(MemberEvent("m", "open", nodes_up=2, cores_up=8)) == ["member m is up: 2 nodes, 8 cores"]
    assert watched.lines(MemberEvent("m", "down", text="no answer"), at=5.0) == [
        "member m is down: no answer. Its jobs go on where they can."
    ]
    watched.lines(MemberEvent("m", "down", text="still none"), at=20.0)
    assert watched.lines(MemberEvent("m", "up"), at=45.0) == ["member m is up again after 40.00 s"]


def test_ctrl_c_says_what_happens_and_what_a_second_one_does():
    watched = Watched()
    assert watched.lines(Requested("pause", "SIGINT"), at=1.0) == [
        "Ctrl-C: no more jobs start, and those that run may finish. Ctrl-C again cancels them."
    ]
    assert watched.lines(Requested("drain", "alice"), at=2.0) == ["alice asked for: drain"]


def test_a_job_that_ended_well_and_is_not_valid_is_a_failure():
    over = JobEvent("m", "melt-0", "inactive", outcome="success", exit_code=0)
    assert Watched().lines(over, Upkeep((Finish("melt-0", "failed", "valid"),))) == [
        "melt-0 failed, valid (`ensemble logs demo-1 melt-0`)"
    ]


def test_a_refusal_is_told_with_the_queues_words_unless_it_is_for_now():
    answer = SubmitAnswered(1, "m", (("melt-0", 1, "no such partition", False), ("melt-1", 1, "busy", True)))
    assert Watched().lines(answer) == ["melt-0 failed, refused: no such partition"]
