"""The Python of docs/python-api.md is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/python-api.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("blocks", [(0,), (0, 1)], ids=["run", "start"])
def test_the_study_of_the_document_runs(blocks, tmp_path):
    text = "".join(BLOCKS[place] for place in blocks)
    if len(blocks) > 1:
        text = text.partition("if __name__")[0] + BLOCKS[1]
    (tmp_path / "sweep.py").write_text(text)
    env = {**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "sweep.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    if len(blocks) == 1:
        rows = re.findall(r"^([\d.]+) ([\d.]+)$", done.stdout, re.MULTILINE)
        # two answers in a row may halve the same rate: that is one point more for two jobs
        assert 3 < len(rows) <= 6, done.stdout
        assert sorted(float(rate) for rate, _ in rows) == sorted(float(loss) for _, loss in rows)
    else:
        assert done.stdout.splitlines()[-1] == "success 0"


def test_a_misspelt_key_is_shown_as_the_document_shows_it(tmp_path):
    lines = ["from ensemble import Ensemble", "", 'study = Ensemble("sweep")', ""]
    lines += ['study.group("a", "true", waltime="3m")', "study.run()"]
    (tmp_path / "sweep.py").write_text("\n".join(lines))
    done = subprocess.run([sys.executable, "sweep.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    shown = re.search(r"^sweep\.py:.*", (ROOT / "docs/python-api.md").read_text(), re.MULTILINE)[0]
    assert done.stderr.rstrip().endswith(shown)
