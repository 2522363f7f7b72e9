"""From structs to text, held against what a person was shown and found clear."""

from ensemble.engine import CellStatus, FailureStatus, MemberStatus, RuleExplanation, RuleStatus, Status
from ensemble.engine.explain import Part
from ensemble.engine.status import Summary
from ensemble.model.decisions import Call, Firing, Held, Note, Record
from ensemble.model.events import FunctionReturned, TimerFired
from ensemble.report.history import History
from ensemble.report.text import closing, explanation, number, progress, seconds, table, waits


def cell(group, values=None, success=0, failed=0, running=0, mean=None):
    quantities = {"duration": Summary(success, 1.5, 0.25, 1.0, 2.0)} if success else {}
    if mean is not None:
        quantities["pressure"] = Summary(success, mean, 0.1, mean, mean)
    submitted = success + failed + running
    return CellStatus(group, values or {}, submitted, 0, running, success, failed, 0, 0, failed, quantities, {})


def status(**changed):
    groups = (cell("melt", success=5, failed=1), cell("other"))
    points = (cell("melt", {"T": 0.8}, 3, mean=1.25), cell("melt", {"T": 1.4}, 2, 1, mean=4.5))
    fields = {
        "run": "melt-1",
        "elapsed": 75.0,
        "groups": groups,
        "points": points,
        "members": (),
        "rules": (RuleStatus("repeat", "metric", "submit", 2, 1, 0), RuleStatus("other", "idle", "stop", 0, 1, 0)),
        "total": cell("*", success=5, failed=1),
        "firings": 2,
        "notes": {"output-missing": 1},
        "node_hours": 0.5,
        "cost": 0.0,
        "reserved_node_hours": 0.0,
        "reserved_cost": 0.0,
        "draining": "",
        "limit": "",
        "outcome": "failed",
        "reason": "1 job failed",
        "failures": (FailureStatus("melt", "exit", 1, "melt-3", 2, exit_code=2, text="no such file"),),
        "currency": "USD",
    }
    return Status(**{**fields, **changed})


def test_the_closing_table_shows_points_figures_rules_and_notes():
    assert closing(status(), ["a torn tail was cut"]) == (
        "group         jobs  success  failed      duration    pressure\n"
        "melt [T=0.8]     3        3       0  1.5 ± 0.25 s  1.25 ± 0.1\n"
        "melt [T=1.4]     3        2       1  1.5 ± 0.25 s   4.5 ± 0.1\n"
        "other            0        0       0             -           -\n"
        "± is the 95 % confidence interval of the mean.\n"
        "\n"
        "1 job of melt failed: exit code 2 (no such file). "
        "It was melt-3; see `ensemble logs melt-1 melt-3 --attempt 2`.\n"
        "rules fired: repeat twice\n"
        "note: an output did not match\n"
        "warning: a torn tail was cut\n"
        "melt-1: failed (1 job failed) in 75.00 s, 0.5 node-hours"
    )


def member(name, **waiting):
    return MemberStatus(name, "slurm", "up", 4, 0, 16, 0, 12, (), "", waiting)


def test_why_jobs_wait_is_grouped_by_the_words_of_the_queue():
    assert waits(status(members=(member("a", Priority=3, Resources=9),), outcome="")) == [
        "12 jobs wait: Resources (9), Priority (3)"
    ]
    assert waits(status(members=(member("a", Priority=1), member("b")), outcome="")) == [
        "1 job waits at a: Priority (1)"
    ]
    assert waits(status(members=(member("a"),))) == []
    assert waits(status(members=(member("a", Priority=3),), outcome="failed")) == [], (
        "nothing waits in a run that is over"
    )


def test_the_closing_tells_who_cancelled_jobs_from_outside():
    text = closing(status(cancelled_outside={"cancelled by user flux": 2, "": 1}))
    assert "note: 3 jobs cancelled from outside this run: cancelled by user flux (2), no reason given (1)" in text
    assert "note: 1 job cancelled from outside this run\n" in closing(status(cancelled_outside={"": 1}))


def test_money_is_shown_where_some_was_spent():
    assert closing(status(cost=1.25)).endswith("0.5 node-hours, 1.25 USD spent")


def test_progress_is_one_line_and_leaves_out_groups_without_jobs():
    groups = (cell("melt", success=5, failed=1, running=2), cell("other"))
    assert progress(status(groups=groups)) == "75.00 s: melt 6/8 (2 running) (1 failed); 2 rule firings"


def test_an_explanation_says_what_fired_and_what_is_waited_for():
    rule = RuleExplanation(
        "repeat",
        "metric",
        "mean.melt.pressure > 5",
        "submit 1 melt",
        1,
        2,
        "waits for a value",
        (Part("4.5 > 5", False),),
    )
    assert explanation([rule], {"repeat": ["fired after 1.00 s (record 7)"]}) == (
        "repeat: on metric when mean.melt.pressure > 5 -> submit 1 melt (fired once)\n"
        "  fired after 1.00 s (record 7)\n"
        "  now 4.5 > 5: does not hold\n"
        "  waits for a value"
    )
    assert explanation([], {}) == "this ensemble has no rules"


def test_of_a_rule_that_fired_often_the_first_and_the_last_times_are_shown():
    rule = RuleExplanation("r", "job-success a", "", "submit a", 60, -1, "a job of a to succeed", ())
    lines = explanation([rule], {"r": [f"fired {number}" for number in range(60)]}).splitlines()
    assert lines[0] == "r: on job-success a -> submit a (fired 60 times)"
    assert lines[1:12] == [*(f"  fired {number}" for number in range(10)), "  ... 40 more, all in `--output json` ..."]
    assert lines[12:22] == [f"  fired {number}" for number in range(50, 60)]
    few = explanation([rule], {"r": [f"fired {number}" for number in range(21)]}).splitlines()
    assert len(few) == 23, "nothing is left out for one line"
    never = RuleExplanation("r", "job-success a", "", "submit a", 0, 1, "a job of a to succeed (once)", ())
    assert explanation([never], {}).startswith("r: on job-success a -> submit a (never fired)\n")


def test_each_line_of_a_history_says_when_and_why_and_what_came_of_it():
    history = History()
    at = iter(range(100, 200))
    for seq, (event, *steps) in enumerate(
        [
            (TimerFired(),),
            (TimerFired(), Firing("r", {"mean.a.x": 4.0}, (Call(7, "f", "r", {}),)), Held("s", "backoff", left=1)),
            (TimerFired(), Held("s", "backoff", left=0)),
            (FunctionReturned(7, error="f: ValueError: no", fault="raised"), Held("t", "cooldown", until=163.0)),
            (FunctionReturned(7, error="f: again", fault="raised"),),
            (TimerFired(), Firing("t", {}, (Note("resize-bound", "grow: member m stays at 4 nodes"),))),
        ],
        1,
    ):
        history.add(Record(seq, float(next(at)), event, steps=tuple(steps)))
    assert history.lines == {
        "r": [
            "fired after 1.00 s (record 2): mean.a.x = 4",
            "its function failed after 3.00 s (record 4): function-raised: f: ValueError: no",
        ],
        "s": [
            "matched after 1.00 s (record 2) and was held back by its backoff, 1 more to skip",
            "matched after 2.00 s (record 3) and was held back by its backoff, the next match fires",
        ],
        "t": [
            "matched after 3.00 s (record 4) and was held back by its cooldown until 63.00 s",
            "fired after 5.00 s (record 6); resize-bound: grow: member m stays at 4 nodes",
        ],
    }


def test_durations_and_figures_are_said_as_people_say_them():
    assert [seconds(value) for value in (None, 0.5, 100, 3661)] == ["-", "0.50 s", "1 min 40 s", "1 h 01 min"]
    assert [number(value) for value in (None, 0.1 + 0.2, 1234567.0)] == ["-", "0.3", "1.23457e+06"]


def test_columns_of_numbers_stand_to_the_right_of_a_table():
    assert table(["name", "n"], [["a", "1"], ["b", "100"]]) == "name    n\na       1\nb     100"
