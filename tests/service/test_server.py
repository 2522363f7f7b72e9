"""A real server, real verbs, real jobs: what a person gets, and what each fault gets."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import deque

import pytest

pytest.importorskip("grpc", reason="the service needs the extra `service`")

from ensemble.runs import Submission
from ensemble.runs.remote import RemoteRuns, packed
from ensemble.session.security import Security
from ensemble.session.v1 import ensembles_pb2 as pb
from tests.service.world import LONG, SLOW, SMALL, local, make_token, record, start_failing, write


def test_a_run_on_the_server_is_seen_as_one_here_would_be(serve, tmp_path):
    server = serve()
    done = server.verb("run", write(tmp_path, SMALL))
    assert done.returncode == 0, done.stderr
    assert "small-1: success" in done.stdout
    here = local(tmp_path, "events", "state/runs/small-1").stdout
    assert here
    there = server.verb("events", "small-1").stdout
    assert [record(line) for line in there.splitlines()] == [record(line) for line in here.splitlines()]
    status = json.loads(server.verb("status", "-o", "json").stdout)
    assert status == json.loads(local(tmp_path, "status", "state/runs/small-1", "-o", "json").stdout)
    assert "never: on metric" in server.verb("explain", "small-1").stdout
    assert json.loads(server.verb("list", "-o", "json").stdout)[0]["outcome"] == "success"
    assert "2" in server.verb("watch", "small-1").stdout
    assert local(tmp_path, "verify", "state/runs/small-1").returncode == 0


def test_a_bad_file_gets_the_message_it_gets_here(serve, tmp_path):
    server = serve()
    name = write(tmp_path, "jobs:\n  - {name: s, cout: 4, command: 'true'}\n")
    there, here = server.verb("run", name), local(tmp_path, "run", name)
    assert (there.returncode, there.stderr) == (2, here.stderr)
    assert "a.yaml:2:15" in there.stderr


def test_an_unknown_run_is_named(serve):
    answer = serve().verb("status", "nix")
    assert answer.returncode == 2
    assert "there is no run 'nix' on this server" in answer.stderr


def test_who_cancels_is_in_the_journal(serve, tmp_path):
    server = serve()
    token = make_token(tmp_path, "--subject", "alice")
    server.end()
    server = serve(address="127.0.0.1:0")
    env = {"ENSEMBLE_TOKEN_FILE": token}
    with subprocess.Popen(
        [sys.executable, "-m", "ensemble", "run", "--server", server.bound, write(tmp_path, LONG)],
        cwd=tmp_path,
        env={**server.env, **env},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert "run long-1" in running.stdout.readline()
        assert server.verb("cancel", "long-1", **env).returncode == 0
        assert running.wait(60) == 130
    events = [json.loads(line)["event"] for line in server.verb("events", "long-1", **env).stdout.splitlines()]
    assert events[0]["by"] == "alice"
    assert [event["by"] for event in events if event["type"] == "request"] == ["alice"]


def test_who_has_no_good_token_is_turned_away(serve, tmp_path):
    server = serve(address="127.0.0.1:0")
    assert "a token is needed" in server.verb("list").stderr
    agent = make_token(tmp_path, "--role", "agent")
    assert "the token is for role 'agent'" in server.verb("list", "--token-file", agent).stderr
    one = make_token(tmp_path, "--run", "other-1")
    assert "the token is for run 'other-1'" in server.verb("status", "x", "--token-file", one).stderr
    from ensemble.session.tokens import Claims, issue

    key = bytes.fromhex((tmp_path / "state/token.key").read_text())
    old = tmp_path / "old"
    old.touch(0o600)
    old.write_text(issue(key, Claims("user", expires=time.time() - 7200)))
    assert "the token expired 2 hours ago" in server.verb("list", "--token-file", str(old)).stderr
    old.write_text(issue(bytes(32), Claims("user")))
    answer = server.verb("list", "--token-file", str(old))
    assert answer.returncode == 2
    assert "not issued by this server" in answer.stderr


def test_other_machines_come_in_with_tls_and_a_token_only(serve, tmp_path):
    refused = start_failing(tmp_path, "--listen", "0.0.0.0:0")
    assert refused.returncode == 2
    assert "it needs TLS and a token" in refused.stderr
    assert "Traceback" not in refused.stderr
    subprocess.run(
        [sys.executable, "-m", "ensemble.service.main", "certificate", "tls"], cwd=tmp_path, check=True, timeout=60
    )
    tls = ("--tls-cert", "tls/server.pem", "--tls-key", "tls/server.key")
    server = serve(*tls, address="0.0.0.0:0")
    server.bound = "localhost:" + server.bound.rpartition(":")[2]
    token = make_token(tmp_path)
    answer = server.verb("list", "--tls-ca", "tls/ca.pem", "--token-file", token)
    assert (answer.returncode, answer.stdout) == (0, "There are no runs yet.\n"), answer.stderr


def test_a_port_in_use_and_a_state_in_use_are_said(serve, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = start_failing(tmp_path, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert answer.returncode == 2
    assert "in use" in answer.stderr
    serve()
    answer = start_failing(tmp_path, "--listen", f"unix:{tmp_path}/other")
    assert answer.returncode == 2
    assert "another server uses" in answer.stderr


def test_a_file_too_large_for_a_message_is_refused(serve, tmp_path):
    answer = serve().verb("run", write(tmp_path, SMALL + "# " + "x" * (5 << 20)))
    assert answer.returncode == 2
    assert "a message holds" in answer.stderr


def test_ceilings_hold_whatever_the_file_says(serve, tmp_path):
    server = serve("--max-jobs", "1", "--max-nodes", "2", "--max-ensembles", "1")
    assert server.verb("run", write(tmp_path, SMALL)).returncode == 3
    many = "members: {local: {kind: local, nodes: 3}}\n" + SMALL
    assert "asks for 3 nodes; this server allows 2" in server.verb("run", write(tmp_path, many)).stderr
    own = SMALL + "custom: |\n  def f(ctx):\n    return None\n"
    assert "--allow-custom" in server.verb("run", write(tmp_path, own)).stderr


def test_the_same_request_again_is_the_same_run_even_after_a_restart(serve, tmp_path):
    server = serve()
    name = str(tmp_path / write(tmp_path, SMALL))

    def submit():
        with RemoteRuns(server.address, Security()) as runs:
            return runs.connection.call("Submit", pb.SubmitRequest(file=packed(name), request_id="once")).run

    assert submit() == submit() == "small-1"
    server.end(signal.SIGKILL)
    server.start()
    assert submit() == "small-1"
    assert len(list((tmp_path / "state/runs").iterdir())) == 1


def test_a_server_told_to_stop_leaves_its_jobs_and_goes_on_with_them(serve, tmp_path):
    server = serve()
    name = write(tmp_path, SLOW.replace("LEDGER", str(tmp_path / "ledger")).replace("sleep 1", "sleep 3"))
    with subprocess.Popen(
        [sys.executable, "-m", "ensemble", "run", "--server", server.bound, name],
        cwd=tmp_path,
        env=server.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert "run slow-1" in running.stdout.readline()
        assert server.end() == 0
        server.start()
        assert running.wait(60) == 0
    lines = (tmp_path / "ledger").read_text().split()
    assert len(lines) == len(set(lines)) == 2


@pytest.mark.parametrize("verb", ["run", "watch"])
def test_who_looks_on_waits_for_a_server_that_is_long_in_coming_back(verb, serve, tmp_path):
    server = serve()
    name = write(tmp_path, LONG)
    if verb == "watch":
        assert server.verb("run", "--detach", name).returncode == 0
    with subprocess.Popen(
        [sys.executable, "-m", "ensemble", verb, "--server", server.bound, name if verb == "run" else "long-1"],
        cwd=tmp_path,
        env=server.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as looking:
        assert looking.stdout.readline()
        server.end(signal.SIGKILL)
        (tmp_path / "s").unlink()
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.bind(str(tmp_path / "s"))
            nobody.listen()
            nobody.settimeout(60)
            for _ in range(8):
                nobody.accept()[0].close()
        server.start()
        assert server.verb("cancel", "long-1").returncode == 0
        assert looking.wait(60) == (130 if verb == "run" else 0)


def test_a_server_killed_among_20_ensembles_ends_all_of_them_each_job_once(serve, tmp_path):
    server = serve()
    ledger = tmp_path / "ledger"
    text = SLOW.replace("{key}", "{run}/{key}").replace("LEDGER", str(ledger))
    name = str(tmp_path / write(tmp_path, text))

    with RemoteRuns(server.address, Security()) as there:
        runs = [there.submit(Submission(name, detach=True)).run for _ in range(20)]
    server.end(signal.SIGKILL)
    server.start()

    with RemoteRuns(server.address, Security()) as there:
        for run in runs:
            deque(there.find(run).events(follow=True), 0)
        assert [there.find(run).status().outcome for run in runs] == ["success"] * 20
    lines = ledger.read_text().split()
    assert len(lines) == len(set(lines)) == 40
    for run in runs:
        assert local(tmp_path, "verify", f"state/runs/{run}").returncode == 0, run


@pytest.mark.parametrize("moment", ["journal.segment-created", "journal.before-write", "journal.mid-write"])
def test_a_run_whose_server_was_killed_before_its_first_record_begins_again(serve, tmp_path, moment):
    server = serve()
    server.end()
    server.env["ENSEMBLE_FAILPOINT"] = moment
    server.start()
    with subprocess.Popen(
        [sys.executable, "-m", "ensemble", "run", "--server", server.bound, write(tmp_path, SMALL)],
        cwd=tmp_path,
        env={**server.env, "ENSEMBLE_FAILPOINT": ""},
        stdout=subprocess.DEVNULL,
    ) as running:
        assert server.process.wait(60) == -signal.SIGKILL
        server.process.stdout.close()
        del server.env["ENSEMBLE_FAILPOINT"]
        server.start()
        assert running.wait(60) == 0
    assert local(tmp_path, "verify", "state/runs/small-1").returncode == 0


def test_an_agent_that_dials_in_runs_the_jobs(serve, tmp_path):
    server = serve(address="127.0.0.1:0")
    user, agent = make_token(tmp_path), make_token(tmp_path, "--role", "agent", "--member", "far")
    name = write(tmp_path, "members: {far: {kind: remote}}\n" + SMALL)
    with subprocess.Popen(
        [sys.executable, "-m", "ensemble", "agent", "--connect", server.bound, "--name", "far", "--token-file", agent],
        cwd=tmp_path,
        env=server.env,
        stderr=subprocess.DEVNULL,
    ) as process:
        done = server.verb("run", name, "--token-file", user)
        process.terminate()
    assert done.returncode == 0, done.stderr
    assert "small-1: success" in done.stdout


def scrape(server):
    """What Prometheus would see: name{labels} -> value."""
    said = server.process.stdout.readline()
    with urllib.request.urlopen(said.split()[-1], timeout=20) as answer:
        text = answer.read().decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return said.split()[-1], {name: float(value) for name, _, value in lines}


def test_prometheus_reads_what_the_server_counts(serve, tmp_path):
    server = serve("--metrics", "0")
    assert server.verb("run", write(tmp_path, SMALL)).returncode == 0
    server.verb("run", "--detach", write(tmp_path, LONG, "b.yaml"))
    address, found = scrape(server)
    assert found['ensemble_runs{phase="ended"}'] == 1
    assert found['ensemble_runs{phase="running"}'] == 1
    assert found['ensemble_jobs{state="success"}'] == 2
    assert found['ensemble_events_total{kind="runstarted"}'] == 2
    assert found['ensemble_commands_total{kind="submit"}'] >= 1
    assert "ensemble_event_loop_lag_seconds" in found
    buckets = [found[name] for name in found if name.startswith("ensemble_journal_sync_seconds_bucket")]
    assert buckets == sorted(buckets)
    syncs = found["ensemble_journal_sync_seconds_count"]
    assert found['ensemble_journal_sync_seconds_bucket{le="+Inf"}'] == syncs >= 2
    assert 0 < found["ensemble_journal_sync_seconds_sum"] < 60 * syncs
    assert "process_resident_memory_bytes" in found
    assert address.startswith("http://127.0.0.1:")
    assert server.verb("cancel", "long-1").returncode == 0


def test_explain_says_when_a_rule_fired_as_it_does_here(serve, tmp_path):
    server = serve()
    text = SMALL.replace("count.work.failed > 0, action: terminate", "count.work.success >= 1, action: {name: stop}")
    assert server.verb("run", write(tmp_path, text)).returncode == 0
    told = server.verb("explain", "small-1").stdout
    assert "fired after" in told
    assert "count.work.success = 1" in told
    assert told == local(tmp_path, "explain", str(tmp_path / "state" / "runs" / "small-1")).stdout


def test_metrics_for_other_machines_want_tls(tmp_path):
    failed = start_failing(tmp_path, "--listen", f"unix:{tmp_path}/s", "--metrics", "0.0.0.0:0")
    assert failed.returncode == 2
    assert "it needs --tls-cert and --tls-key" in failed.stderr


def test_a_metrics_port_in_use_is_told_in_a_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = start_failing(tmp_path, "--listen", f"unix:{tmp_path}/s", "--metrics", str(port))
    assert failed.returncode == 2
    assert "Address already in use" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_jobs_go_no_faster_than_the_servers_submit_rate(serve, tmp_path):
    server = serve("--submit-rate", "4")
    text = "name: many\nmembers: {local: {cores: 20}}\njobs: [{name: w, count: 12, command: 'true'}]\n"
    done = server.verb("run", write(tmp_path, text))
    assert done.returncode == 0, done.stderr
    records = [record(line) for line in server.verb("events", "many-1").stdout.splitlines()]
    starts = sorted(one.event.time for one in records if getattr(one.event, "state", "") == "run")
    assert len(starts) == 12
    # the first four at once, the next at the second after, the last at the second second
    assert starts[-1] - starts[0] >= 1.9


def test_a_cancel_does_not_wait_for_the_submit_rate(serve, tmp_path):
    server = serve("--submit-rate", "1")
    text = "name: many\nmembers: {local: {cores: 50}}\njobs: [{name: w, count: 600, command: sleep 600}]\n"
    assert server.verb("run", "--detach", write(tmp_path, text)).returncode == 0
    assert server.verb("cancel", "many-1").returncode == 0
    records = [record(line) for line in server.verb("events", "--follow", "many-1").stdout.splitlines()]
    assert sum(getattr(one.event, "state", "") == "run" for one in records) < 60
    assert "many-1: cancelled" in server.verb("status", "many-1").stdout
    assert "w" in server.verb("status", "many-1").stdout


def test_an_ensemble_whose_function_hangs_or_whose_directory_is_gone_disturbs_no_other(serve, tmp_path):
    server = serve("--allow-custom")
    hangs = LONG.replace("long", "hangs") + (
        "custom: |\n  def hang(**kwargs):\n      while True: pass\n"
        "rules: [{trigger: start, action: {name: custom, label: hang}}]\n"
    )
    for name, text in (("hangs", hangs), ("gone", LONG.replace("long", "gone"))):
        assert server.verb("run", "--detach", write(tmp_path, text, f"{name}.yaml")).returncode == 0
    subprocess.run(["rm", "-r", str(tmp_path / "state" / "runs" / "gone-1" / "journal")], check=True)
    done = server.verb("run", write(tmp_path, SMALL))
    assert done.returncode == 0, done.stderr
    assert "small-1: success" in done.stdout
    assert server.verb("cancel", "hangs-1").returncode == 0
    server.verb("cancel", "gone-1")
    assert server.verb("status", "small-1").returncode == 0
