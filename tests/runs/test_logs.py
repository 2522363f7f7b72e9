"""What a job writes is followed until it ends, here and at a server."""

import pytest

from tests.runs.world import Here
from tests.service.conftest import serve  # noqa: F401 - a fixture

WRITER = """
name: gated
jobs:
  - {name: work, shell: true, command: 'echo one; until test -e GATE; do sleep 0.05; done; echo two'}
"""


@pytest.fixture(params=["here", "server"])
def place(request, tmp_path):
    """The command line, and the options for where the run is."""
    here = Here(tmp_path)
    if request.param == "here":
        return here, ()
    pytest.importorskip("grpc", reason="the service needs the extra `service`")
    return here, ("--server", request.getfixturevalue("serve")().bound)


def test_logs_follow_a_job_to_its_end(place, tmp_path):
    here, options = place
    (tmp_path / "gated.yaml").write_text(WRITER.replace("GATE", str(tmp_path / "gate")))
    with here.started("run", "gated.yaml", *options):
        here.until_running(1, *options)
        with here.started("logs", "gated-1", "work-0", "--follow", *options) as logs:
            assert logs.stdout.readline() == "one\n"
            status = here("status", "gated-1", *options)
            assert status.splitlines()[0].split()[:4] == ["group", "jobs", "running", "success"]
            here.open_gate()
            assert logs.stdout.read() == "two\n"


def test_logs_print_the_last_attempt_unless_one_is_named(place, tmp_path):
    here, options = place
    (tmp_path / "twice.yaml").write_text(
        "name: twice\njobs: [{name: work, shell: true, retries: 1,"
        " command: 'echo $ENSEMBLE_ATTEMPT; test $ENSEMBLE_ATTEMPT -gt 1'}]\n"
    )
    here("run", "twice.yaml", *options)
    assert here("logs", "twice-1", "work-0", *options) == "2\n"
    assert here("logs", "twice-1", "work-0", "--attempt", "1", *options) == "1\n"


def test_logs_of_a_job_whose_program_was_never_started_say_so(place, tmp_path):
    here, options = place
    (tmp_path / "none.yaml").write_text("name: none\njobs: [{name: work, command: no-such-program}]\n")
    here("run", "none.yaml", *options, code=1)
    assert "its program was never started" in here("logs", "none-1", "work-0", *options, code=2)
