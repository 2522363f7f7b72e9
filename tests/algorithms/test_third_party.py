"""An algorithm and a statistic of another package: one file each, and one line that says where it is."""

import os
import subprocess
import sys

LAST_FIRST = """
from ensemble.algorithms import Packaged, Settings
from ensemble.algorithms.packaged import on
from ensemble.algorithms.slots import slots, submit
from ensemble.engine.algorithm import Outcome


class LastFirst(Packaged[Settings]):
    name = "last-first"
    settings = Settings

    def plan(self, options, view):
        return [on("start", "all", repetitions=1)]

    def steps(self):
        return {"all": self._all}

    def _all(self, options, turn):
        (group,) = turn.view.groups()
        return Outcome(tuple(submit(slot, slot.wanted) for slot in reversed(slots(turn.view, group))))
"""
SPREAD = """
from ensemble.metrics import Statistic

spread = Statistic("spread", "largest value less the smallest", lambda of: of.moments().high - of.moments().low)
"""
FILE = """
name: outside
members: {local: {nodes: 1, cores: 1}}
jobs: [{name: a, command: "echo y {x}", parameters: {x: [1, 4, 2]}, outputs: {y: 'y (.*)'}}]
rules: [{trigger: metric, when: spread.a.y == 3, action: stop}]
algorithm: last-first
"""


def ensemble(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "ensemble", *arguments],
        cwd=tmp_path,
        env={**os.environ, "ENSEMBLE_HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_algorithm_and_a_statistic_of_another_package(tmp_path):
    info = tmp_path / "site" / "outside-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(
        "[ensemble.algorithms]\nlast-first = last_first:LastFirst\n[ensemble.statistics]\nspread = spread:spread\n"
    )
    (info.parent / "last_first.py").write_text(LAST_FIRST)
    (info.parent / "spread.py").write_text(SPREAD)
    (tmp_path / "file.yaml").write_text(FILE)
    done = ensemble(tmp_path, "run", "file.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped" in done.stdout, "the rule on the statistic fired"
    assert (tmp_path / "runs/outside-1/jobs/a-0/stdout").read_text() == "y 2\n", "the last point went first"
    assert "no difference" in ensemble(tmp_path, "verify").stdout


def test_a_misspelt_statistic_is_still_refused_with_the_nearest(tmp_path):
    (tmp_path / "file.yaml").write_text(FILE.replace("spread.a.y", "maen.a.y").replace("algorithm: last-first", ""))
    done = ensemble(tmp_path, "check", "file.yaml")
    assert done.returncode == 2
    assert "Did you mean mean?" in done.stdout
