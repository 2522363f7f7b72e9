"""A verb from outside of the package is one file and one line."""

import os
import subprocess
import sys

import pytest

VERB = '''
import click
from ensemble.cli.options import output_option, run_argument, runs_options, verb


@verb("count")
@run_argument()
@runs_options
@output_option
def command(runs, run, output):
    """Count the jobs of RUN that succeeded."""
    total = runs.find(run).status().total
    output.show(f"{total.success} of {total.submitted}", {"success": total.success})
'''


@pytest.fixture
def ensemble(tmp_path):
    """The command line with a package beside it that brings the verb `count`."""
    site = tmp_path / "site"
    (site / "counting-1.dist-info").mkdir(parents=True)
    (site / "counting.py").write_text(VERB)
    (site / "counting-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1\n")
    (site / "counting-1.dist-info" / "entry_points.txt").write_text("[ensemble.verbs]\ncount = counting:command\n")
    environment = {**os.environ, "PYTHONPATH": str(site), "ENSEMBLE_HOME": str(tmp_path / "home")}

    def call(*words):
        return subprocess.run(
            [sys.executable, "-m", "ensemble", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


def test_a_verb_of_another_package_works_as_ours_do(ensemble, tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\njobs: [{name: a, command: 'true', count: 3}]\n")
    assert ensemble("run", "a.yaml").returncode == 0
    assert ensemble("count", "last").stdout == "3 of 3\n"
    assert ensemble("count", "-o", "json").stdout == '{"success": 3}\n'
    assert "Server options:" in ensemble("count", "--help").stdout
    assert "  count " in ensemble("--help").stdout
    assert "Did you mean count?" in ensemble("coumt").stderr
