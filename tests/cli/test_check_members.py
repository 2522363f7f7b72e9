"""`ensemble check` looks at the members that `run` would be given, and says what starts by itself and why."""

import pytest
from click.testing import CliRunner

from ensemble.cli.main import ensemble

TEN_NODES = "jobs: [{name: lammps, command: lmp -in in.melt, nodes: 10, tasks: 40}]\n"


def check(tmp_path, *options):
    file = tmp_path / "ten.yaml"
    file.write_text(TEN_NODES)
    return CliRunner().invoke(ensemble, ["check", str(file), *options])


def test_a_file_for_ten_flux_nodes_passes_with_them(tmp_path):
    done = check(tmp_path, "--member", "flux", "--nodes", "10")
    assert (done.exit_code, "no problem" in done.output) == (0, True)


def test_the_same_file_does_not_fit_one_node_of_this_machine(tmp_path):
    done = check(tmp_path)
    assert done.exit_code == 2
    assert "needs 10 nodes and there" in done.output


@pytest.mark.parametrize("kind", ["flx", "fluxx"])
def test_a_kind_that_there_is_not_is_refused_with_the_nearest(tmp_path, kind):
    done = check(tmp_path, "--member", kind)
    assert done.exit_code == 2
    assert f"there is no kind of member {kind!r}. Did you mean flux?" in done.output


def test_it_says_what_starts_by_itself_and_why(tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text("""
jobs:
  - {name: a, command: x}
  - {name: b, command: x, submit: start}
  - {name: c, command: x}
  - {name: d, command: x}
rules:
  - {trigger: job-success, name: a, action: {name: submit, label: c}}
  - {id: again, trigger: job-fail, name: d, action: {name: submit, label: d}}
""")
    done = CliRunner().invoke(ensemble, ["check", str(file)])
    assert done.output.splitlines()[1:] == [
        "  a starts: no rule submits it",
        "  b starts: it says `submit: start`",
        "  c waits: rule-1 submits it",
        "  d starts: only its own jobs set off again",
    ]
