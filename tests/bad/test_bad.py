"""Each file here has one fault (`several-mistakes` has more); beside it lies what `ensemble check` says of it.

Every message was read by eye. `ENSEMBLE_REWRITE=1 pytest tests/bad` writes them anew: read the difference.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from ensemble.cli.check import command as check
from ensemble.cli.main import main

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.yaml"))


def run(*args, cwd=HERE):
    done = subprocess.run(
        [sys.executable, "-m", "ensemble", *args], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_message_is_the_one_that_was_read(file, monkeypatch, capsys):
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(sys, "argv", ["ensemble", "check", file.name])
    with pytest.raises(SystemExit) as ended:
        main()
    said = "".join(capsys.readouterr())
    assert ended.value.code == 2, said
    assert "fault of ours" not in said
    golden = file.with_suffix(".txt")
    if os.environ.get("ENSEMBLE_REWRITE"):
        golden.write_text(said)
    assert said == golden.read_text()
    if file.stem not in (
        "empty",
        "only-a-comment",
        "custom-module-missing",
        "custom-raises-on-import",
        "custom-path-in-nowhere",
    ):
        assert said.startswith(f"{file.name}:"), "file, line and column come first"
        assert all(len(line) < 500 for line in said.splitlines()), "one paragraph"


def test_a_directory_of_bad_files_is_checked_whole(tmp_path):
    done = run("check", ".")
    assert done.returncode == 2
    assert done.stdout == "".join(file.with_suffix(".txt").read_text() for file in FILES)


@pytest.mark.parametrize("verb", ["check", "run", "simulate"])
@pytest.mark.parametrize("name", ["several-mistakes", "yaml-tab", "not-utf8", "empty"])
def test_every_verb_refuses_with_exit_code_2(verb, name, tmp_path):
    done = run(verb, str(HERE / f"{name}.yaml"), cwd=tmp_path)
    assert done.returncode == 2
    assert f"{name}.yaml" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was made"


@pytest.mark.parametrize("verb", ["check", "run", "simulate"])
def test_what_cannot_be_read_is_named(verb, tmp_path):
    for name, words in (("nothing.yaml", "no such file"), (".", "directory")):
        if (verb, name) == ("check", "."):
            continue
        done = run(verb, name, cwd=tmp_path)
        said = done.stdout + done.stderr
        assert done.returncode == 2
        assert words in said.lower(), said
    secret = tmp_path / "secret.yaml"
    secret.write_text("jobs: []")
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        return  # root reads everything
    assert run(verb, str(secret), cwd=tmp_path).returncode == 2


def test_a_directory_without_files_is_refused(tmp_path):
    done = run("check", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "no ensemble file" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ten megabytes", "jobs:\n" + "  - {name: a, command: 'true'}\n" * 340_000),
        ("a line of ten megabytes", "name: " + "x" * 10_000_000 + "\n"),
        ("ten thousand brackets", "jobs: " + "[" * 10_000 + "]" * 10_000 + "\n"),
        ("ten thousand mappings", "jobs: " + "{a: " * 10_000 + "}" * 10_000 + "\n"),
        ("a number of a million digits", "seed: " + "9" * 1_000_000 + "\njobs: [{name: a, command: 'true'}]\n"),
        ("many aliases", "a: &a [" + "1, " * 1000 + "]\nb: &b [" + "*a, " * 1000 + "]\njobs: [*b, *b, *b]\n"),
    ],
)
def test_huge_files_are_refused_soon_and_shortly(name, text, tmp_path):
    (tmp_path / "huge.yaml").write_text(text)
    began = time.process_time()
    result = CliRunner().invoke(check, [str(tmp_path / "huge.yaml")])
    assert result.exit_code == 2, result
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert len(result.output) < 3000
    assert time.process_time() - began < 60, "not a timed test: it would be hours"
