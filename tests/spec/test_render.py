"""Rendering: what one attempt of a job is, in full."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.errors import ExpressionError, InputError
from ensemble.model.jobs import FileInput, JobSpec, OutputSpec, Scalar
from ensemble.spec.model import EnsembleSpec, GroupSpec, OutputRule, RetrySpec
from ensemble.spec.render import LARGEST_SEED, Renderer, job_seed


def render(values: dict[str, Scalar] | None = None, attempt: int = 1, number: int = 1, **group: Any) -> JobSpec:
    values = values or {}
    group = {"name": "melt", "command": "sleep 5", "axes": tuple(values), **group}
    spec = EnsembleSpec(seed=3, jobs=(GroupSpec(**group),), directory="/study")
    return Renderer(spec, "melt-1", "/runs/melt-1").render("melt", 0, values, f"melt-{number}", attempt)


def test_a_plain_job_has_its_place_its_name_and_its_environment() -> None:
    job = render()
    assert str(job.ref) == "melt-1/melt-1.1"
    assert (job.group, job.command, job.script) == ("melt", ("sleep", "5"), "")
    assert job.workdir == "/runs/melt-1/jobs/melt-1"
    assert job.stdout == "/runs/melt-1/jobs/melt-1/stdout"
    assert job.env == {
        "ENSEMBLE_RUN": "melt-1",
        "ENSEMBLE_RUN_DIR": "/runs/melt-1",
        "ENSEMBLE_GROUP": "melt",
        "ENSEMBLE_KEY": "melt-1",
        "ENSEMBLE_ATTEMPT": "1",
    }


def test_before_there_is_a_run_paths_are_relative() -> None:
    spec = EnsembleSpec(jobs=(GroupSpec(name="a", command="true"),))
    job = Renderer(spec, "", "").render("a", 0, {}, "a-0")
    assert job.workdir == "./jobs/a-0"


def test_every_text_of_the_file_is_filled() -> None:
    job = render(
        {"T": 1.1, "part": "big"},
        command="lmp -var T {T} -var seed {seed} -log {key}.log",
        setup="module load {part}",
        cleanup="rm {key}.tmp",
        env={"TEMPERATURE": "{T}", "KEY": "{key}"},
        inputs=(
            FileInput("in.{T}", "in.melt"),
            FileInput("in.restart", text="T {T}\nkey {key}"),
            FileInput("", "/abs/{part}.x"),
        ),
        outputs={"pressure": OutputRule(source="{key}.log", pattern="P (.*)", take="max", required=True)},
        options={"partition": "{part}", "share": 2},
        simulate={"duration": "{T * 10}", "spread": 0.1},
        workdir="{run}/{T}/{key}.{attempt}",
    )
    assert job.command == ("lmp", "-var", "T", "1.1", "-var", "seed", str(job_seed(3, "melt-1")), "-log", "melt-1.log")
    assert (job.setup, job.cleanup) == ("module load big", "rm melt-1.tmp")
    assert job.env["TEMPERATURE"] == "1.1"
    assert job.env["KEY"] == "melt-1"
    assert job.inputs == (
        FileInput("in.1.1", "/study/in.melt"),
        FileInput("in.restart", text="T 1.1\nkey melt-1"),
        FileInput("big.x", "/abs/big.x"),
    )
    assert job.outputs == (OutputSpec("pressure", "melt-1.log", "P (.*)", take="max", required=True),)
    assert job.options == {"partition": "big", "share": 2}
    assert job.duration == {"duration": 11.0, "spread": 0.1}
    assert job.workdir == "/runs/melt-1/1.1/melt-1.1"
    assert job.point == {"T": 1.1, "part": "big"}


def test_a_value_with_spaces_is_one_argument() -> None:
    assert render({"m": "very fast; rm"}, command="run {m}").command == ("run", "very fast; rm")


def test_several_lines_are_a_script_and_shell_makes_one_of_one_line() -> None:
    script = render({"T": 2}, command="a {T}\nb ${HOME}\n")
    assert (script.command, script.script) == ((), "a 2\nb ${HOME}\n")
    assert render(command="echo a | wc", shell=True).script == "echo a | wc\n"
    assert render(command="sleep 5\n").command == ("sleep", "5")


def test_a_later_attempt_keeps_seed_and_place_and_has_its_own_command_and_output() -> None:
    group = {"command": "run {seed}", "retries": RetrySpec(limit=2, command="resume {seed} {attempt}")}
    first, second, third = (render(attempt=attempt, **group) for attempt in (1, 2, 3))
    seed = str(job_seed(3, "melt-1"))
    assert [job.command for job in (first, second, third)] == [
        ("run", seed),
        ("resume", seed, "2"),
        ("resume", seed, "3"),
    ]
    assert first.workdir == second.workdir
    assert second.stdout == "/runs/melt-1/jobs/melt-1/stdout.2"
    assert second.env["ENSEMBLE_ATTEMPT"] == "2"
    assert second.ref.attempt == 2


def test_a_retry_may_be_a_script_where_the_first_was_not() -> None:
    job = render(attempt=2, command="run", retries=RetrySpec(limit=1, command="a\nb"))
    assert (job.command, job.script) == ((), "a\nb\n")


def test_hosts_to_avoid_are_handed_on() -> None:
    spec = EnsembleSpec(jobs=(GroupSpec(name="a", command="true"),))
    assert Renderer(spec, "r", "/r").render("a", 0, {}, "a-1", 2, avoid=("n1",)).avoid == ("n1",)


@pytest.mark.parametrize(
    ("group", "values", "expected"),
    [
        ({"tasks": "{N * 32}"}, {"N": 4}, (0, 128, 1, 0)),
        ({"tasks": "{N} * 2"}, {"N": 4}, (0, 8, 1, 0)),
        ({"tasks": "{N / 2}"}, {"N": 4}, (0, 2, 1, 0)),
        ({"tasks": "4"}, {}, (0, 4, 1, 0)),
        ({"nodes": 4}, {}, (4, 4, 1, 0)),
        ({"nodes": 4, "tasks": 8, "cores": 2, "gpus": 1}, {}, (4, 8, 2, 1)),
        ({"nodes": "{N}", "cores": "{N}"}, {"N": 2.0}, (2, 2, 2, 0)),
        ({"tasks": "{attempt}"}, {}, (0, 1, 1, 0)),
        ({"tasks": "{N}"}, {"N": "8"}, (0, 8, 1, 0)),
    ],
)
def test_resources_are_whole_numbers_and_tasks_are_raised_to_nodes(
    group: dict[str, Any], values: dict[str, Scalar], expected: tuple[int, ...]
) -> None:
    found = render(values, **group).resources
    assert (found.nodes, found.tasks, found.cores, found.gpus) == expected
    assert all(type(number) is int for number in (found.nodes, found.tasks, found.cores, found.gpus))


@pytest.mark.parametrize(
    ("walltime", "values", "seconds"),
    [
        (90.0, {}, 90),
        ("20m", {}, 1200),
        ("{N * 60}", {"N": 2}, 120),
        ("{N}m", {"N": 2}, 120),
        ("{w}", {"w": "1h"}, 3600),
        ("{attempt * 10}m", {}, 1200),
    ],
)
def test_walltime_is_seconds_or_a_duration(walltime: float | str, values: dict[str, Scalar], seconds: float) -> None:
    assert render(values, attempt=2, walltime=walltime).walltime == seconds


@pytest.mark.parametrize(
    ("group", "values", "words"),
    [
        (
            {"tasks": "{N / 3}"},
            {"N": 4},
            r"group melt: tasks: '\{N / 3\}' with N = 4: a whole number is needed, not 1.33",
        ),
        ({"tasks": "{N - 4}"}, {"N": 4}, "tasks: .*with N = 4: 0 is less than 1"),
        ({"nodes": "{-N}"}, {"N": 4}, "nodes: .*-4 is less than 0"),
        ({"cores": "{N ** 60}"}, {"N": 4}, "more than 1,000,000,000"),
        ({"gpus": "{flag}"}, {"flag": True}, "not true"),
        ({"tasks": "{m}"}, {"m": "many"}, "'many' is not a number"),
        ({"tasks": "N * 32"}, {"N": 4}, "placeholder in braces"),
        ({"tasks": "{N} *"}, {"N": 4}, "tasks: .*found the end"),
        ({"tasks": "1 / 0"}, {}, "not unknown"),
        ({"tasks": 0}, {}, "0 is less than 1"),
        ({"walltime": "{N}x"}, {"N": 4}, "walltime: .*with N = 4: unknown unit 'x'"),
        ({"walltime": "{flag}"}, {"flag": True}, "true is not a duration"),
        ({"command": "run {1 / N}"}, {"N": 0}, r"group melt: command: \{1 / N\} has no value with N = 0"),
        ({"command": "run {N}", "axes": ("N",)}, {}, "'N' is not given"),
        ({"env": {"A": "{N:d}"}}, {"N": 0.5}, "env.A: .*cannot show 0.5"),
        ({"setup": "{key:d}"}, {}, "setup: .*cannot show"),
        ({"command": "run 'it"}, {}, "command: the command cannot be split"),
        ({"retries": RetrySpec(command='a "')}, {}, "retries.command: .*cannot be split"),
        ({"command": "  "}, {}, "there is no command"),
    ],
)
def test_what_cannot_be_filled_names_group_key_and_values(
    group: dict[str, Any], values: dict[str, Scalar], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        render(values, **group)


def test_entries_that_share_a_name_are_told_apart_by_their_place() -> None:
    spec = EnsembleSpec(
        jobs=(GroupSpec(name="a", command="x"), GroupSpec(name="b", command="y"), GroupSpec(name="a", command="z"))
    )
    renderer = Renderer(spec, "r", "/r")
    assert [renderer.render("a", index, {}, "a-1").command for index in (0, 1)] == [("x",), ("z",)]
    for group, index in (("a", 2), ("a", -1), ("nosuch", 0)):
        with pytest.raises(InputError, match="no entry"):
            renderer.render(group, index, {}, "a-1")


def test_points_that_are_equal_but_spelt_differently_stay_apart() -> None:
    spec = EnsembleSpec(jobs=(GroupSpec(name="a", command="x {T}", axes=("T",)),))
    renderer = Renderer(spec, "r", "/r")
    found = [renderer.render("a", 0, {"T": value}, "a-1").command[1] for value in (1, 1.0, True, "1")]
    assert found == ["1", "1.0", "true", "1"]


def test_more_points_than_are_kept_render_all_the_same() -> None:
    spec = EnsembleSpec(jobs=(GroupSpec(name="a", command="x {T}", axes=("T",)),))
    renderer = Renderer(spec, "r", "/r")
    points: list[dict[str, Scalar]] = [{"T": index} for index in range(5000)]
    for _ in range(2):
        assert all(renderer.render("a", 0, point, "a-1").command == ("x", str(point["T"])) for point in points)


def test_one_job_does_not_see_the_environment_of_another() -> None:
    spec = EnsembleSpec(jobs=(GroupSpec(name="a", command="x", env={"A": "1"}),))
    renderer = Renderer(spec, "r", "/r")
    point: dict[str, Scalar] = {}
    first, second = (renderer.render("a", 0, point, key) for key in ("a-1", "a-2"))
    assert (first.env["ENSEMBLE_KEY"], second.env["ENSEMBLE_KEY"]) == ("a-1", "a-2")


def test_the_seed_of_a_job_never_changes_between_releases() -> None:
    assert job_seed(3, "melt-1") == 601468677
    assert job_seed(20261120, "melt-0") == 652378318


@given(st.integers(), st.text())
def test_a_seed_suits_every_common_generator(seed: int, key: str) -> None:
    assert 1 <= job_seed(seed, key) <= LARGEST_SEED < 2**31


def test_jobs_of_one_group_have_different_seeds() -> None:
    assert len({job_seed(0, f"a-{n}") for n in range(10_000)}) > 9_998


def test_the_retry_command_is_an_expression_error_when_a_placeholder_is_to_blame() -> None:
    with pytest.raises(ExpressionError, match=r"retries\.command"):
        render({"N": 0}, attempt=2, retries=RetrySpec(command="a {1 / N}"))
