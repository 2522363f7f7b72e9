"""What each verb says, in each form; one pair of runs serves all tests."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import click
import pytest

from ensemble.cli.main import VERBS
from ensemble.cli.main import ensemble as group

SMALL = """
name: small
jobs:
  - name: work
    parameters: {N: [1, 2]}
    command: echo result {N}
    outputs: {result: 'result (.*)'}
rules:
  - {id: never, trigger: metric, when: count.work.failed > 0, action: terminate}
"""


def every_verb():
    """The words of every command: verbs, and those of a verb that has its own."""
    context = click.Context(group)
    for name in VERBS:
        command = group.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else []
        yield from [f"{name} {one}" for one in inner] or ([] if isinstance(command, click.Group) else [name])


def ensemble(where, *args, **more):
    return subprocess.run(
        [sys.executable, "-m", "ensemble", *args],
        cwd=where,
        env={**os.environ, "ENSEMBLE_HOME": str(where / "home"), **more},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A directory with the runs small-1 and small-2."""
    where = tmp_path_factory.mktemp("runs")
    (where / "small.yaml").write_text(SMALL)
    for _ in range(2):
        done = ensemble(where, "run", "small.yaml")
        assert done.returncode == 0, done.stderr
    return where


def test_help_names_every_verb(tmp_path):
    text = ensemble(tmp_path, "--help").stdout
    assert re.findall(r"^  ([a-z]+) +[A-Z]", text.partition("Verbs:")[2], re.MULTILINE) == list(VERBS)


def test_help_loads_nothing_that_is_slow(tmp_path):
    code = (
        "import sys; sys.argv[1:] = ['--help']\nfrom ensemble.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m in ('rich', 'yaml', 'asyncio', 'ensemble.engine', 'ensemble.spec')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", list(every_verb()))
def test_every_verb_explains_itself_and_takes_output(verb, tmp_path):
    done = ensemble(tmp_path, *verb.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: " in done.stdout
    assert "--output" in done.stdout


def test_a_mistyped_verb_is_told_the_nearest(tmp_path):
    done = ensemble(tmp_path, "statsu")
    assert done.returncode == 2
    assert "Did you mean status?" in done.stderr


def test_the_newest_run_is_last_from_anywhere(two_runs, tmp_path):
    done = ensemble(tmp_path, "status", "--output", "json", ENSEMBLE_HOME=str(two_runs / "home"))
    assert json.loads(done.stdout)["run"] == "small-2"
    by_path = ensemble(tmp_path, "status", str(two_runs / "runs/small-1"), "--output", "json")
    assert json.loads(by_path.stdout)["run"] == "small-1"


def test_run_arguments_are_completed(two_runs):
    words = {"COMP_WORDS": "ensemble status sma", "COMP_CWORD": "2", "_ENSEMBLE_COMPLETE": "bash_complete"}
    code = "import sys; sys.argv[0] = 'ensemble'; from ensemble.cli.main import main; main()"
    environment = {**os.environ, "ENSEMBLE_HOME": str(two_runs / "home"), **words}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert {line.partition(",")[2] for line in done.stdout.split()} == {"small-1", "small-2"}


def test_results_are_rows_in_every_form(two_runs, tmp_path):
    text = ensemble(two_runs, "results", "--format", "csv").stdout
    rows = sorted((row["key"], row["N"], float(row["result"])) for row in csv.DictReader(io.StringIO(text)))
    assert rows == [("work-0", "1", 1.0), ("work-1", "2", 2.0)]
    lines = ensemble(two_runs, "results", "--by", "point", "--format", "json").stdout.splitlines()
    assert [(point["N"], point["success"]) for point in map(json.loads, lines)] == [(1, 1), (2, 1)]
    target = tmp_path / "rows.csv"
    assert ensemble(two_runs, "results", "--format", "csv", "--to", str(target)).stdout == ""
    assert len(target.read_text().splitlines()) == 3


def test_a_rule_that_never_fired_says_what_it_waited_for(two_runs):
    why = ensemble(two_runs, "explain", "last", "never").stdout
    assert "count.work.failed > 0" in why
    assert "it was waiting for" in why


def test_logs_do_not_leave_the_directory_of_the_job(two_runs):
    assert ensemble(two_runs, "logs", "small-1", "work-1").stdout == "result 2\n"
    done = ensemble(two_runs, "logs", "small-1", "work-1", "--file", "../../journal/journal.00000001")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("words", [("events",), ("logs", "small-1", "work-1"), ("schema",), ("schema", "--markdown")])
def test_what_is_printed_as_it_is_has_a_form_for_programs_and_a_quiet_one(two_runs, words):
    lines = ensemble(two_runs, *words, "--output", "json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert found
    if words[0] == "logs":
        assert found == [{"key": "work-1", "file": "stdout", "text": "result 2\n"}]
    done = ensemble(two_runs, *words, "--output", "quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_logs_without_a_key_name_a_job_that_failed_before_another(two_runs, tmp_path):
    done = ensemble(two_runs, "logs", "small-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "KEY is missing: the key of a job, such as work-" in done.stderr
    assert "`ensemble results small-1` lists them all" in done.stderr
    (tmp_path / "bad.yaml").write_text(SMALL.replace("small", "bad").replace("echo result {N}", "sh -c 'exit {N}0'"))
    ensemble(tmp_path, "run", "bad.yaml")
    assert re.search(r"such as work-\d, which failed", ensemble(tmp_path, "logs", "last").stderr)


def test_quiet_is_quiet(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    done = ensemble(tmp_path, "run", "small.yaml", "--output", "quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_reader_that_goes_away_ends_nothing(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m ensemble run small.yaml | true"],
        cwd=tmp_path,
        env={**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert "small-1: success in" in ensemble(tmp_path, "status").stdout


def test_rm_takes_a_run_away(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    ensemble(tmp_path, "run", "small.yaml")
    assert ensemble(tmp_path, "rm", "small-1", "--yes").returncode == 0
    assert not (tmp_path / "runs/small-1").exists()
    assert ensemble(tmp_path, "status").returncode == 2


def test_a_simulation_is_held_against_a_run(two_runs):
    done = ensemble(two_runs, "simulate", "small.yaml", "--repeat", "3", "--compare", "last")
    assert done.returncode == 0, done.stderr
    assert "small-2" in done.stdout
    assert re.search(r"^jobs.success +2 +2 +1  yes$", done.stdout, re.MULTILINE)


def test_the_schema_knows_the_groups(tmp_path):
    schema = json.loads(ensemble(tmp_path, "schema").stdout)
    assert "command" in schema["$defs"]["GroupSpec"]["properties"]
