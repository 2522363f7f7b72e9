"""The verbs that look at a run, go on with it or take it away say at a server what they say here."""

import csv
import io
import json
import signal
import subprocess
import sys

import pytest

pytest.importorskip("grpc", reason="the service needs the extra `service`")

from ensemble.model.events import Requested
from ensemble.runs.remote import RemoteRuns
from ensemble.session.security import Security
from ensemble.session.v1 import ensembles_pb2 as pb
from tests.service.world import LONG, SLOW, SMALL, agent, local, make_token, write

RETRIED = """
name: retried
jobs:
  - name: work
    shell: true
    command: echo attempt $ENSEMBLE_ATTEMPT; echo bad >&2; test $ENSEMBLE_ATTEMPT -gt 1
    retries: {limit: 1, reasons: [exit]}
"""


@pytest.fixture
def small(serve, tmp_path):
    """A server that has run SMALL, and the path of that run."""
    server = serve()
    assert server.verb("run", write(tmp_path, SMALL)).returncode == 0
    return server, "state/runs/small-1"


@pytest.mark.parametrize("by", ["job", "point"])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_results_are_the_rows_that_they_are_here(small, tmp_path, by, form):
    server, run = small
    there = server.verb("results", "small-1", "--by", by, "--format", form)
    here = local(tmp_path, "results", run, "--by", by, "--format", form)
    assert (there.returncode, there.stdout) == (0, here.stdout), there.stderr
    assert len(there.stdout.splitlines()) == (2 if form == "json" else 3)


def test_results_go_to_a_file_of_the_caller(small, tmp_path):
    server, _ = small
    assert server.verb("results", "--format", "csv", "--to", "rows.csv").stdout == ""
    rows = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert sorted(float(row["result"]) for row in rows) == [1.0, 2.0]


def test_results_of_many_jobs_come_whole_and_in_order(serve, tmp_path):
    server = serve()
    text = "name: many\nmembers: {local: {cores: 8}}\njobs: [{name: w, count: 450, command: 'true'}]\n"
    assert server.verb("run", write(tmp_path, text)).returncode == 0
    there = server.verb("results", "--format", "json").stdout
    assert there == local(tmp_path, "results", "state/runs/many-1", "--format", "json").stdout
    assert len({json.loads(line)["key"] for line in there.splitlines()}) == 450


def test_logs_are_what_they_are_here(serve, tmp_path):
    server = serve()
    assert server.verb("run", write(tmp_path, RETRIED)).returncode == 0
    for words in (
        ("work-0",),
        ("work-0", "--attempt", "2"),
        ("work-0", "--stderr"),
        ("work-0", "--file", "stdout.2"),
        ("work-0", "--file", "none"),
        ("work-0", "--file", "../../journal/journal.00000001"),
        ("nix",),
        ("..", "--file", "journal/journal.00000001"),
        ("work-0/../..", "--file", "run.json"),
    ):
        there, here = server.verb("logs", "retried-1", *words), local(tmp_path, "logs", "state/runs/retried-1", *words)
        assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr), words
    assert server.verb("logs", "retried-1", "work-0", "--attempt", "2").stdout == "attempt 2\n"
    assert server.verb("logs", "retried-1", "..", "--file", "journal/journal.00000001").returncode == 2


def test_the_last_attempt_and_a_part_of_a_file_can_be_asked_for(serve, tmp_path):
    server = serve()
    assert server.verb("run", write(tmp_path, RETRIED)).returncode == 0

    def read(**given):
        with RemoteRuns(server.address, Security()) as runs:
            request = pb.LogsRequest(run="retried-1", key="work-0", **given)
            return b"".join(one.data for one in runs.connection.stream("Logs", request))

    assert read() == b"attempt 2\n"
    assert read(path="stderr", attempt=1) == b"bad\n"
    assert read(offset=3, limit=4) == b"empt"
    assert read(offset=99) == b""


def test_logs_of_any_size_and_any_bytes_come_as_they_are(serve, tmp_path):
    server = serve()
    text = "name: big\njobs: [{name: w, shell: true, command: 'head -c 9000000 /dev/urandom'}]\n"
    assert server.verb("run", write(tmp_path, text)).returncode == 0
    there = subprocess.run(
        [sys.executable, "-m", "ensemble", "logs", "--server", server.bound, "big-1", "w-0"],
        cwd=tmp_path,
        env=server.env,
        capture_output=True,
        timeout=120,
    )
    assert there.stdout == (tmp_path / "state/runs/big-1/jobs/w-0/stdout").read_bytes()
    assert len(there.stdout) == 9_000_000


FAR = """
name: far
members: {far: {kind: remote}}
jobs:
  - {name: told, command: echo told by it}
  - {name: waits, shell: true, command: 'until test -e GATE; do sleep 0.1; done'}
"""


def test_logs_that_an_agent_has_are_read_through_it_while_the_run_goes_on(serve, tmp_path):
    server = serve(address="127.0.0.1:0")
    user, token = make_token(tmp_path), make_token(tmp_path, "--role", "agent", "--member", "far")
    with agent(server, "--name", "far", "--base", "elsewhere", "--token-file", token):
        name = write(tmp_path, FAR.replace("GATE", str(tmp_path / "gate")))
        assert server.verb("run", "--detach", name, "--token-file", user).returncode == 0
        until_ended(server, "far-1", "told-0", user)
        assert not (tmp_path / "state/runs/far-1/jobs").exists()
        told = server.verb("logs", "far-1", "told-0", "--token-file", user)
        assert (told.returncode, told.stdout) == (0, "told by it\n"), told.stderr
        missing = server.verb("logs", "far-1", "told-0", "--file", "none", "--token-file", user)
        assert (missing.returncode, missing.stdout) == (2, "")
        assert "No such file" in missing.stderr
        (tmp_path / "gate").touch()
        server.verb("events", "-f", "far-1", "--token-file", user)
        over = server.verb("logs", "far-1", "told-0", "--token-file", user)
    assert over.returncode == 2
    assert "are where member far ran it" in over.stderr


def until_ended(server, run, key, token):
    with RemoteRuns(server.bound, Security(token_file=token)) as runs:
        for record in runs.find(run).events(follow=True):
            if getattr(record.event, "key", "") == key and record.event.outcome:
                return


def test_a_run_that_was_left_is_gone_on_with_and_shown_as_here(serve, tmp_path):
    server = serve()
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    waiting = f"until test -e {gate}; do sleep 0.05; done"
    name = write(tmp_path, SLOW.replace("LEDGER", str(ledger)).replace("sleep 1", waiting))
    assert server.verb("run", "--detach", name).returncode == 0
    assert leave(server, "slow-1") == "detached"
    gate.touch()
    done = server.verb("resume", "slow-1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "run slow-1 goes on"
    assert "slow-1: success" in done.stdout
    lines = ledger.read_text().split()
    assert len(lines) == len(set(lines)) == 2
    again = server.verb("resume")
    here = local(tmp_path, "resume", "state/runs/slow-1")
    assert (again.returncode, again.stdout, again.stderr) == (here.returncode, here.stdout, here.stderr)


def leave(server, run):
    """Let the server leave the run; the state that it is in then."""
    with RemoteRuns(server.address, Security()) as runs:
        found = runs.find(run)
        # a run none of whose jobs are with a member yet is not detached but interrupted
        next(status for status in found.watch() if status.total.running)
        found.ask(Requested("detach"))
        for _ in found.watch():
            pass
        return found.info().state


def test_only_what_is_left_can_be_resumed_and_only_what_is_over_removed(serve, tmp_path):
    server = serve()
    assert server.verb("run", "--detach", write(tmp_path, LONG)).returncode == 0
    for verb, *more in (("resume",), ("rm", "--yes")):
        answer = server.verb(verb, "long-1", *more)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert "run long-1 is running" in answer.stderr
    assert "`--force` is for runs on this machine" in server.verb("resume", "long-1", "--force").stderr
    assert leave(server, "long-1") == "detached"
    answer = server.verb("rm", "--yes", "long-1")
    assert answer.returncode == 2
    assert "run long-1 is not over" in answer.stderr
    assert (tmp_path / "state/runs/long-1").is_dir()
    with subprocess.Popen(
        [sys.executable, "-m", "ensemble", "resume", "--server", server.bound, "long-1"],
        cwd=tmp_path,
        env=server.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as resumed:
        assert "run long-1" in resumed.stdout.readline()
        assert server.verb("cancel", "long-1").returncode == 0
        assert resumed.wait(60) == 130


def test_a_removed_run_is_gone_and_stays_gone(small, tmp_path):
    server, _ = small
    assert server.verb("run", "--detach", write(tmp_path, SMALL.replace("small", "other"))).returncode == 0
    assert server.verb("rm", "small-1").returncode == 130, "nobody said yes"
    done = server.verb("rm", "--yes", "small-1")
    assert (done.returncode, done.stdout) == (0, "deleted run small-1\n")
    assert "there is no run 'small-1'" in server.verb("status", "small-1").stderr
    assert server.verb("rm", "--yes", "small-1").returncode == 2
    server.end(signal.SIGKILL)
    server.start()
    assert [one["name"] for one in json.loads(server.verb("list", "-o", "json").stdout)] == ["other-1"]
    assert not (tmp_path / "state/runs/small-1").exists()
    assert len(list((tmp_path / "state/files").iterdir())) == 1


def states(server):
    return [(one["state"], one["outcome"]) for one in json.loads(server.verb("list", "-o", "json").stdout)]


def test_a_run_that_was_left_is_taken_over_to_be_cancelled(serve, tmp_path):
    server = serve()
    assert server.verb("run", "--detach", write(tmp_path, LONG)).returncode == 0
    assert leave(server, "long-1") == "detached"
    done = server.verb("cancel", "long-1")
    assert (done.returncode, done.stdout) == (
        0,
        "long-1: no process worked on the run; it was taken over for this\n",
    ), done.stderr
    server.verb("events", "--follow", "long-1")
    assert states(server) == [("over", "cancelled")]


def test_a_drained_run_waits_for_a_resume_even_when_the_server_is_restarted(serve, tmp_path):
    server = serve()
    gate = tmp_path / "gate"
    text = LONG.replace("sleep 600", f"until test -e {gate}; do sleep 0.05; done").replace(
        "name: work,", "name: work, shell: true, max_running: 1,"
    )
    text = text.replace("command: until", "command: 'until").replace("done}", "done'}")
    assert server.verb("run", "--detach", write(tmp_path, text)).returncode == 0
    with RemoteRuns(server.address, Security()) as runs:
        run = runs.find("long-1")
        next(record for record in run.events(follow=True) if getattr(record.event, "state", "") == "run")
        assert run.drain().done
        gate.touch()
        for _ in run.watch():
            pass
    assert states(server) == [("drained", "drained")]
    server.end()
    server.start()
    assert states(server) == [("drained", "drained")]
    assert "long-1: success" in server.verb("resume", "long-1").stdout
