"""Who comes in at a real server and who does not: certificates of clients, of the server, tokens of agents."""

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("grpc", reason="the service needs the extra `service`")

from tests.service.certificates import Authority
from tests.service.world import SMALL, agent, make_token, write


@pytest.fixture
def site(tmp_path):
    return Authority(tmp_path, "site")


def test_a_client_comes_in_with_a_certificate_of_the_right_authority_alone(serve, site, tmp_path):
    others = Authority(tmp_path, "others")
    server = serve(*site.issue("server"), "--tls-client-ca", str(site.pem), address="127.0.0.1:0")
    ours = ("--tls-ca", str(site.pem), "--token-file", make_token(tmp_path))
    name = write(tmp_path, SMALL)
    done = server.verb("run", *ours, *site.issue("carol"), name)
    assert done.returncode == 0, done.stderr
    for shown in ((), others.issue("mallory"), site.issue("late", days=-1)):
        answer = server.verb("list", *ours, *shown)
        assert (answer.returncode, answer.stdout) == (2, ""), shown
        assert f"no server answers at {server.bound}" in answer.stderr
    # a certificate is no token
    bare = server.verb("list", "--tls-ca", str(site.pem), *site.issue("carol"))
    assert (bare.returncode, bare.stdout) == (2, "")
    assert "a token is needed" in bare.stderr
    assert len(json.loads(server.verb("list", "-o", "json", *ours, *site.issue("carol")).stdout)) == 1


def test_the_name_in_the_certificate_stands_in_the_journal_where_the_token_has_none(serve, site, tmp_path):
    server = serve(*site.issue("server"), "--tls-client-ca", str(site.pem), address="127.0.0.1:0")
    ours = ("--tls-ca", str(site.pem), *site.issue("carol"))
    assert server.verb("run", *ours, "--token-file", make_token(tmp_path), write(tmp_path, SMALL)).returncode == 0
    named = make_token(tmp_path, "--subject", "alice")
    assert server.verb("run", *ours, "--token-file", named, write(tmp_path, SMALL)).returncode == 0
    runs = json.loads(server.verb("list", "-o", "json", *ours, "--token-file", named).stdout)
    assert {run["name"]: run["by"] for run in runs} == {"small-1": "carol", "small-2": "alice"}


@pytest.mark.parametrize("fault", ["expired", "another authority"])
def test_a_server_that_its_certificate_does_not_vouch_for_is_told_nothing(fault, serve, site, tmp_path):
    shown = site.issue("server", days=-1) if fault == "expired" else Authority(tmp_path, "others").issue("server")
    server = serve(*shown, address="127.0.0.1:0")
    answer = server.verb("list", "--tls-ca", str(site.pem), "--token-file", make_token(tmp_path))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "CERTIFICATE_VERIFY_FAILED" in answer.stderr
    assert ("expired" in answer.stderr) == (fault == "expired")


def test_an_address_that_is_not_in_the_certificate_is_not_talked_to(serve, site, tmp_path):
    server = serve(*site.issue("server"), address="0.0.0.0:0")
    ours = ("--tls-ca", str(site.pem), "--token-file", make_token(tmp_path))
    port = server.bound.rpartition(":")[2]
    server.bound = f"127.0.0.1:{port}"
    assert server.verb("list", *ours).returncode == 0
    server.bound = f"127.0.0.2:{port}"
    answer = server.verb("list", *ours)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Hostname Verification Check failed" in answer.stderr


def test_a_server_with_a_certificate_takes_nobody_without_tls(serve, site, tmp_path):
    server = serve(*site.issue("server"), address="127.0.0.1:0")
    answer = server.verb("list", "--token-file", make_token(tmp_path))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"no server answers at {server.bound}" in answer.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--role", "agent", "--member", "near"), "the token is for member 'near', not for 'far'"),
        (("--role", "agent", "--run", "other-1"), "the token is for run 'other-1', not for 'small-1'"),
        (("--role", "user"), "the token is for role 'user', and 'agent' is needed"),
        ((), "a token is needed"),
    ],
)
def test_an_agent_without_the_right_token_is_told_why_and_ends(options, said, serve, tmp_path):
    server = serve(address="127.0.0.1:0")
    token = ("--token-file", make_token(tmp_path, *options)) if options else ()
    turned = subprocess.run(
        [
            sys.executable,
            "-m",
            "ensemble",
            "agent",
            "--connect",
            server.bound,
            "--name",
            "far",
            "--run",
            "small-1",
            *token,
        ],
        cwd=tmp_path,
        env=server.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert turned.returncode in (1, 2)
    assert said in turned.stderr
    assert "Traceback" not in turned.stderr
    log = (tmp_path / "log").read_text()
    assert re.search(f"ensemble-server: (unauthenticated|wrong-token) .*{said}", log), log


def test_an_agent_that_shows_a_certificate_runs_the_jobs(serve, site, tmp_path):
    server = serve(*site.issue("server"), "--tls-client-ca", str(site.pem), address="127.0.0.1:0")
    ours = ("--tls-ca", str(site.pem))
    token = make_token(tmp_path, "--role", "agent", "--member", "far")
    name = write(tmp_path, "members: {far: {kind: remote}}\n" + SMALL)
    with agent(server, "--name", "far", "--token-file", token, *ours, *site.issue("node")):
        done = server.verb("run", *ours, *site.issue("carol"), "--token-file", make_token(tmp_path), name)
    assert done.returncode == 0, done.stderr
