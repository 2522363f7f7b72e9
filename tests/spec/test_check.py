"""What is wrong although each line is right: found before anything is spent, and nothing else is."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ensemble.model.errors import SpecError
from ensemble.model.placement import Size
from ensemble.runtime.examining import examine
from ensemble.spec.check import check
from ensemble.spec.evaluation import evaluate
from ensemble.spec.expressions import parse
from ensemble.spec.loader import load, load_with_places, loads
from ensemble.spec.ranges import Range, may_hold
from ensemble.spec.tree import MetricPath
from tests.ensemble_files import ENSEMBLE_FILES, EXAMPLES

A = "{name: a, command: 'true', count: 5, submit: start}"
STOP = "action: {name: stop}"
AGAIN = "action: {name: submit, label: a, repetitions: unlimited}"


def codes(text, **sizes):
    spec = loads(text)
    found = check(spec, {name: Size(*size) for name, size in sizes.items()}, frozenset(["far"]))
    return [(one.code, one.where) for one in found]


def rules(*texts, jobs=A, head=""):
    return f"{head}\njobs: [{jobs}]\nrules:\n" + "".join(f"- {{{text}}}\n" for text in texts)


@pytest.mark.parametrize("file", ENSEMBLE_FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_nothing_is_found_in_what_is_right(file):
    assert examine(load(file)) == []


@pytest.mark.parametrize(
    ("job", "size", "words"),
    [
        ("nodes: 3", (2, 8), "it needs 3 nodes and there are at most 2"),
        ("tasks: 9, nodes: 1", (2, 8), "it needs 9 cores on one node and a node has 8"),
        ("cores: 9", (2, 8), "it needs 9 cores on one node and a node has 8"),
        ("tasks: 17", (2, 8), "it needs 17 cores and there are at most 16"),
        ("gpus: 1", (2, 8, 0), "it needs 1 GPU and there are at most 0"),
        ("gpus: 2", (2, 8, 1), "it needs 2 GPUs on one node and a node has 1"),
        ("tasks: 3, gpus: 2", (2, 8, 3), "it needs 3 tasks of 1 core and 2 GPUs, and 2 nodes can hold 2 of them"),
        ("tasks: 3, cores: 5", (2, 8), "it needs 3 tasks of 5 cores, and 2 nodes can hold 2 of them"),
        ("nodes: 2, tasks: 4, cores: 5", (9, 8), "it needs 10 cores on one node and a node has 8"),
        ("parameters: {N: [1, 2, 4]}, tasks: '{N * 8}'", (2, 8), "with N=4 can never run: it needs 32 cores"),
    ],
)
def test_a_job_that_can_never_fit_is_an_error(job, size, words):
    (found,) = check(loads(f"jobs: [{{name: a, command: 'echo {{N}}', {job}}}]"), {"local": Size(*size)})
    assert (found.code, found.where, found.error) == ("never-fits", "jobs[0]", True)
    assert words in found.message


@pytest.mark.parametrize(
    ("job", "size"),
    [("nodes: 2", (2, 8)), ("tasks: 16", (2, 8)), ("cores: 8", (2, 8)), ("tasks: 2, gpus: 1", (2, 8, 1))],
)
def test_a_job_that_just_fits_is_none(job, size):
    assert codes(f"jobs: [{{name: a, command: x, {job}}}]", local=size) == []


def test_a_job_fits_when_one_member_holds_it_or_its_size_is_not_known():
    two = "members: {small: {kind: local}, large: {kind: local}}\njobs: [{name: a, command: x, nodes: 4}]"
    assert codes(two, small=(1, 8), large=(4, 8)) == []
    assert codes(two, small=(1, 8)) == []
    assert codes(two, small=(1, 8), large=(2, 8)) == [("never-fits", "jobs[0]")]
    assert codes(two.replace("nodes: 4", "nodes: 4, member: small"), small=(1, 8), large=(4, 8)) != []


def test_a_member_that_rules_may_grow_has_any_size_unless_it_has_a_bound():
    grow = rules(
        "trigger: start, action: {name: grow, value: 3}", jobs="{name: a, command: x, nodes: 4, submit: start}"
    )
    assert codes(grow, local=(1, 8)) == []
    bound = "members: {local: {nodes: {min: 1, max: 2}}}"
    assert codes(bound + grow, local=(2, 8)) == [("never-fits", "jobs[0]")]


def test_a_member_that_no_rule_makes_larger_stays_as_it_begins():
    may = "members: {local: {nodes: {min: 1, max: 4}}}\njobs: [{name: a, command: x, nodes: 4}]"
    assert codes(may, local=(4, 8)) == [("never-fits", "jobs[0]")]
    assert codes(may + "\nrules: [{trigger: start, action: {name: grow, value: 3}}]", local=(4, 8)) == []


def test_errors_are_refused_with_their_place_and_warnings_are_given(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("jobs:\n  - {name: a, command: x, nodes: 4000}\n  - {name: b, command: x, submit: rules}\n")
    spec, places = load_with_places(file)
    with pytest.raises(SpecError, match=r"e\.yaml:2:\d+: jobs\[0\]: a job of a can never run"):
        examine(spec, places)
    file.write_text(file.read_text().replace("nodes: 4000", "nodes: 1"))
    (warning,) = examine(*load_with_places(file))
    assert str(warning).startswith(f"{file}:3:12: jobs[1].name: b is never submitted")


@pytest.mark.parametrize(
    "rule",
    [
        "trigger: metric, when: count.a.success == 6",
        "trigger: metric, when: count.a.success > 5",
        "trigger: metric, when: count.a.success < 0",
        "trigger: metric, when: count.a.success == 2.5",
        "trigger: metric, when: mean.a.duration < 0",
        "trigger: metric, when: count.a.success > 3 and 1 > 2",
        "trigger: metric, when: count.a.success > 3 and count.a.success < 3",
        "trigger: metric, when: mean.a.duration >= 3 and 3 > mean.a.duration",
        "trigger: metric, when: not (count.a.success >= 0)",
        "trigger: metric, when: count.a.success + count.a.failed > 10",
        "trigger: metric, when: count.a.success / 2 > 3",
        "trigger: metric, when: count.*.finished > 5",
        "trigger: job-success, name: a, when: count.a.success > 9",
        "trigger: metric, when: 'nodes.free < 0'",
        "trigger: metric, when: 'std.a.pending < 0 or abs(count.a.lost) < 0'",
    ],
)
def test_a_condition_that_cannot_become_true_is_found(rule):
    assert codes(rules(f"{rule}, {STOP}")) == [("never-fires", "rules[0].when")]


@pytest.mark.parametrize(
    "rule",
    [
        "trigger: metric, when: count.a.success == 5",
        "trigger: metric, when: count.a.failed_attempts > 100",
        "trigger: metric, when: mean.a.duration > 1e9",
        "trigger: metric, when: count.a.success / count.a.failed > 100",
        "trigger: metric, when: 'max(count.a.success, 7) > 6'",
        "trigger: metric, when: nodes.up > 100",
        "trigger: job-success, name: a",
    ],
)
def test_a_condition_that_may_become_true_is_none(rule):
    assert codes(rules(f"{rule}, {STOP}")) == []


def test_jobs_that_rules_or_people_s_code_add_count():
    more = "trigger: start, action: {name: submit, label: a, value: 2}"
    seven, eight = (f"trigger: metric, when: count.a.success == {n}, {STOP}" for n in (10, 11))
    assert codes(rules(more, seven)) == []
    assert codes(rules(more, eight)) == [("never-fires", "rules[1].when")]
    code = rules("trigger: start, action: {name: custom, label: f}", eight) + "custom: |\n  def f(): pass\n"
    assert codes(code) == []
    points = "trigger: start, action: {name: submit, label: p, parameters: {x: [3, 4]}}"
    many = f"trigger: metric, when: count.p.success == 99, {STOP}"
    assert codes(rules(points, many, jobs="{name: p, command: 'x {x}', parameters: {x: [1]}, submit: start}")) == []


def test_what_waits_for_a_group_that_is_never_submitted_is_found():
    jobs = A + ", {name: b, command: x, submit: rules}"
    found = codes(
        rules(
            f"trigger: job-success, name: b, {STOP}", f"trigger: metric, when: mean.b.duration > 1, {STOP}", jobs=jobs
        )
    )
    assert found == [("never-submitted", "jobs[1].name"), ("never-fires", "rules[0]"), ("never-fires", "rules[1].when")]


def test_waiting_for_retries_that_nobody_has_is_found():
    assert codes(rules(f"trigger: job-retry, name: a, {STOP}")) == [("no-retries", "rules[0]")]
    assert codes(rules(f"trigger: job-retry, {STOP}")) == [("no-retries", "rules[0]")]
    assert codes(rules(f"trigger: job-retry, {STOP}", jobs="{name: a, command: x, retries: 2}")) == []


def test_a_start_rule_with_repetitions_is_found():
    assert codes(rules("trigger: start, action: {name: stop, repetitions: 3}")) == [("never-again", "rules[0].action")]


def test_growing_what_cannot_grow_is_found():
    far = "members: {far: {kind: flux}}"
    grow = "trigger: idle, action: {name: grow}"
    assert codes(rules(grow, head=far)) == [("cannot-resize", "rules[0].action")]
    full = "members: {here: {nodes: {min: 2, max: 2, start: 2}}}"
    assert codes(rules(grow, head=full)) == [("never-fires", "rules[0].action")]
    assert codes(rules(grow)) == []


@pytest.mark.parametrize(
    ("rule", "jobs"),
    [
        (f"trigger: job-success, name: a, {AGAIN}", A),
        (f"trigger: job-finish, {AGAIN}", A),
        (f"trigger: metric, when: count.a.active == 0, {AGAIN}", A),
        (f"trigger: metric, when: count.a.success < 100 and count.a.active == 0, {AGAIN}", A),
        (f"trigger: metric, name: rel_ci95.a.duration, when: '> 0.1', {AGAIN}", A),
        (f"trigger: idle, {AGAIN}", A),
        (f"trigger: interval, seconds: 5, {AGAIN}", A),
    ],
)
def test_a_loop_without_a_bound_is_found_and_a_limit_bounds_it(rule, jobs):
    assert codes(rules(rule, jobs=jobs)) == [("endless", "rules[0]")]
    for limit in ("jobs: 100", "walltime: 1h"):
        assert codes(rules(rule, jobs=jobs, head=f"limits: {{{limit}}}")) == []


def test_a_loop_over_two_rules_is_found():
    jobs = A + ", {name: b, command: x}"
    there = "trigger: job-success, name: a, action: {name: submit, label: b, repetitions: unlimited}"
    back = "trigger: job-success, name: b, action: {name: submit, label: a, repetitions: unlimited}"
    assert codes(rules(there, back, jobs=jobs)) == [("endless", "rules[0]"), ("endless", "rules[1]")]
    assert codes(rules(there, back.replace("unlimited", "3"), jobs=jobs)) == []


def test_a_loop_that_counts_itself_is_bounded():
    assert codes(rules(f"trigger: job-success, name: a, when: count.a.submitted < 50, {AGAIN}")) == []
    assert codes(rules(f"trigger: job-finish, name: a, when: count.a.finished <= 50, {AGAIN}")) == []
    assert codes(rules(f"trigger: metric, when: count.a.success < 100, {AGAIN}")) == []


def test_a_loop_that_a_rule_may_stop_is_no_finding():
    assert codes(rules(f"trigger: idle, {AGAIN}", f"trigger: metric, when: mean.a.duration > 9, {STOP}")) == []
    never = f"trigger: metric, when: mean.a.duration < 0, {STOP}"
    assert ("endless", "rules[0]") in codes(rules(f"trigger: idle, {AGAIN}", never))


def test_what_follows_from_a_rule_that_never_fires_is_found():
    jobs = A + ", {name: b, command: x, submit: rules}, {name: c, command: x, submit: rules}"
    found = codes(
        rules(
            "trigger: metric, when: count.a.success > 5, action: {name: submit, label: b}",
            "trigger: job-success, name: b, action: {name: submit, label: c}",
            f"trigger: metric, when: count.c.success == 0, {STOP}",
            jobs=jobs,
        )
    )
    assert found == [
        ("never-submitted", "jobs[1].name"),
        ("never-submitted", "jobs[2].name"),
        ("never-fires", "rules[0].when"),
        ("never-fires", "rules[1]"),
        ("never-fires", "rules[2].when"),
    ]


def test_a_condition_in_the_name_is_looked_at_too():
    assert codes(rules(f"trigger: metric, name: count.a.success > 9, {STOP}")) == [("never-fires", "rules[0].name")]


def test_a_file_in_which_nothing_is_ever_submitted_is_an_error():
    alone = "{name: a, command: x, submit: rules}"
    (found,) = check(loads(f"jobs: [{alone}]"))
    assert (found.code, found.error) == ("nothing-runs", True)
    circle = rules("trigger: job-success, action: {name: submit, label: a}", jobs=alone)
    assert codes(circle) == [("nothing-runs", "jobs"), ("never-fires", "rules[0]")]
    for first in ("start", "idle", "member-open"):
        assert codes(rules(f"trigger: {first}, action: {{name: submit, label: a}}", jobs=alone)) == []
    assert codes(f"jobs: [{alone}]\nalgorithm: workload-success") == []


def test_a_backoff_that_outlasts_the_jobs_is_found():
    rule = "trigger: job-success, name: a, action: {name: avoid, repetitions: 2, backoff: %d}"
    assert codes(rules(rule % 3)) == []
    assert codes(rules(rule % 4)) == [("never-again", "rules[0].action.backoff")]
    assert codes(rules((rule % 4).replace("name: a, ", ""))) == [("never-again", "rules[0].action.backoff")]


def test_a_job_too_large_that_is_never_submitted_is_only_a_warning():
    text = "jobs: [{name: a, command: x}, {name: b, command: x, nodes: 9, submit: rules}]"
    found = check(loads(text), {"local": Size(1, 8)})
    assert [(one.code, one.error) for one in found] == [("never-fits", False), ("never-submitted", False)]


def test_a_point_that_cannot_be_made_is_an_error_however_late_it_comes():
    text = "jobs: [{name: a, command: x, parameters: {N: {from: 1, to: 300}}, tasks: '{300 - N}'}]"
    found = check(loads(text), {"local": Size(1, 1000)})
    assert [(one.code, one.where, one.error) for one in found] == [("bad-point", "jobs[0].parameters", True)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("limits: {jobs: 3}\njobs: [{name: a, command: x, count: 4}]", ("limit-at-once", "limits.jobs")),
        ("limits: {cost: 3}\njobs: [{name: a, command: x, walltime: 5m}]", ("limit-without-price", "limits.cost")),
        (
            "limits: {walltime: 5m}\njobs: [{name: a, command: x, walltime: 6m}]",
            ("limit-below-walltime", "jobs[0].walltime"),
        ),
        ("jobs: [{name: a, command: 'x {temp}', parameters: {Temp: [1]}}]", ("placeholder", "jobs[0].command")),
        ("jobs: [{name: a, command: x, parameters: {T: [1, 2]}}]", ("axis-unused", "jobs[0].parameters")),
    ],
)
def test_what_is_probably_not_meant_is_found(text, found):
    assert found in codes(text)


METRICS = {"count.a.success": Range(0, 5, True), "mean.a.duration": Range(0, math.inf), "max.a.x": Range(-2.5, 3)}
NUMBERS = st.one_of(
    st.sampled_from([str(number) for number in (0, 1, 2, 2.5, 5, 6, 100)]), st.sampled_from(list(METRICS))
)
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(lambda p: f"({' '.join(p)})"),
        inner.map(lambda one: f"(-{one})"),
        st.tuples(st.sampled_from(["abs", "min", "max", "floor", "exp", "sqrt"]), inner).map(
            lambda p: f"{p[0]}({p[1]})"
        ),
    ),
    max_leaves=4,
)
CONDITIONS = st.recursive(
    st.tuples(SUMS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), SUMS).map(lambda parts: " ".join(parts)),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda p: f"({' '.join(p)})"),
        inner.map(lambda one: f"(not ({one}))"),
    ),
    max_leaves=3,
)


@settings(max_examples=400, deadline=None)
@given(CONDITIONS, st.integers(0, 5), st.floats(0, 1e6), st.floats(-2.5, 3))
def test_a_condition_said_never_to_hold_does_not(text, count, mean, largest):
    values = {"count.a.success": count, "mean.a.duration": mean, "max.a.x": largest}
    expr = parse(text)

    def bounds(path: MetricPath) -> Range:
        return METRICS[str(path)]

    if evaluate(expr, values) is True:
        assert may_hold(expr, bounds), text


def test_an_option_that_no_member_has_is_a_warning_and_one_of_another_kind_is_none(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("jobs:\n  - {name: a, command: x, options: {queue: debug, partion: short, grace: 3}}\n")
    (warning,) = examine(*load_with_places(file))
    assert str(warning).startswith(f"{file}:2:")
    assert "jobs[0].options.partion: no member has an option 'partion' for its jobs" in str(warning)
    assert "'partition'" in str(warning)


@pytest.mark.parametrize(
    ("command", "syntax"),
    [
        ("cat a.txt | wc -l", "|"),
        ("echo hello > out.txt", ">"),
        ("wc -l < in.txt", "<"),
        ("./a; ./b", ";"),
        ("./a && ./b", "&&"),
        ("./server &", "&"),
        ("ls *.txt", "*.txt"),
        ("echo $HOME", "$HOME"),
        ('echo "in ${HOME}"', "${HOME}"),
        ("echo `date`", "`"),
        ("ls ~/data", "~"),
        ("OMP_NUM_THREADS=4 ./a.out", "OMP_NUM_THREADS="),
    ],
)
def test_shell_syntax_in_a_command_without_a_shell_is_warned_of(command, syntax):
    (found,) = check(loads(json.dumps({"jobs": [{"name": "a", "command": command}]})))
    assert (found.code, found.where) == ("needs-a-shell", "jobs[0].command")
    assert repr(syntax) in found.message
    assert "`shell: true`" in found.hint
    assert check(loads(json.dumps({"jobs": [{"name": "a", "command": command, "shell": True}]}))) == []
    assert check(loads(json.dumps({"jobs": [{"name": "a", "command": command + "\ntrue"}]}))) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("cat a | wc -l >> n; ls | wc", "'|', '>>' and ';' are passed to cat as written"),
        ('echo $HOME "$USER in ${HOME}"', "'$HOME', '$USER' and '${HOME}' are passed to echo as written"),
        ("N=4 ./a.out > out", "'N=' is taken for the name of the program, and '>' for its arguments"),
    ],
)
def test_all_shell_syntax_of_a_command_is_named(command, message):
    (found,) = check(loads(json.dumps({"jobs": [{"name": "a", "command": command}]})))
    assert found.message == f"{message}: a command of one line runs without a shell"


@pytest.mark.parametrize(
    "command",
    [
        "awk '{print $1}' in.txt",
        "sh -c 'cat *.txt | wc -l > out'",
        'sh -c "echo $HOME"',
        """python3 -c "print('y', {x} ** 2)" """,
        "python3 -c 'a = 1; print(a > 0)'",
        "./sim --scale {x * 32} --out run_{x}.dat",
        "curl http://localhost/?a=1",
        r"echo \$HOME \| \;",
    ],
)
def test_what_is_quoted_needs_no_shell(command):
    data = {"jobs": [{"name": "a", "command": command, "parameters": {"x": [1]}}]}
    assert check(loads(json.dumps(data))) == []


def test_a_check_goes_through_a_file_a_fixed_number_of_times():
    class Jobs(tuple):
        passes = 0

        def __iter__(self):
            Jobs.passes += 1
            return super().__iter__()

    def passes(count):
        text = "".join(f"- {{name: g{i}, command: x, retries: 1}}\n" for i in range(count)) + "rules:\n"
        when = "count.g{0}.success > 0 and mean.g{0}.duration > 1"
        submits = "action: {{name: submit, label: g{0}, value: 1}}"
        for i in range(count):
            text += f"- {{trigger: metric, when: {when.format(i)!r}, {submits.format(i)}}}\n"
            text += f"- {{trigger: job-retry, name: g{i}, {submits.format(i)}}}\n"
        spec = loads("jobs:\n" + text)
        Jobs.passes = 0
        assert check(structs.replace(spec, jobs=Jobs(spec.jobs)), {"local": Size(1, 4)}) == []
        return Jobs.passes

    assert passes(40) == passes(4)
