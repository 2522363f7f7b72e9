"""Every block of docs/python-api.md is a whole script, and is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs/python-api.md").read_text()
BLOCKS = {
    re.search(r'Ensemble\("(\w+)"', block)[1]: block
    for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
}

SAID = {
    "search": r"(?s)^(\{'x': .*\n){20}best: Job\(work-\d+: x=-[01]\.\d+, success\)\nsuccess\n$",
    "asks": r"^made \('work-2',\)\nrefused: .*1 node.*\nnot possible: .*Did you mean work\?\nrefused: run asks-1 is over \(success\); nothing can be asked of it any more\n$",  # noqa: E501
    "sweep": r"^(0\.\d+ 0\.\d+\n){4,6}",
    "melt": r"^\{'T': \[0.8, 1.1\], 'N': \[1, 2, 3\]\}\nsuccess\n$",
    "look": r"^success 0 .*look-1\n\[.*\]\nwork-\d success\n(.*\n){2}3 True 1\n$",
}


def run(folder, text):
    (folder / "script.py").write_text(text)
    env = {**os.environ, "ENSEMBLE_HOME": str(folder / "home")}
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", BLOCKS)
def test_each_script_of_the_document_runs_and_comes_to_what_it_says(name, tmp_path):
    done = run(tmp_path, BLOCKS[name])
    assert done.returncode == 0, done.stderr
    shown = re.sub(r"(?s)^.*\n\n(?=0\.)", "", done.stdout) if name == "sweep" else done.stdout
    assert re.search(SAID[name], shown, re.MULTILINE if name == "sweep" else 0), done.stdout


def test_a_misspelt_key_is_shown_as_the_document_shows_it(tmp_path):
    lines = ["from ensemble import Ensemble", "", 'study = Ensemble("sweep")', ""]
    lines += ['study.group("a", "true", waltime="3m")', "study.run()"]
    done = run(tmp_path, "\n".join(lines))
    shown = re.search(r"^sweep\.py:.*", TEXT, re.MULTILINE)[0]
    assert done.stderr.rstrip().endswith(shown.replace("sweep.py", "script.py"))
