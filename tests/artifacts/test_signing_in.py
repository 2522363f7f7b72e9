"""Who we are at a registry: Docker's files and helpers, passwords, and tokens of a service that a registry names."""

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from ensemble.artifacts.credentials import Credentials, credentials
from ensemble.artifacts.manifest import EMPTY
from ensemble.artifacts.registry import Refusal, Registry
from ensemble.model.errors import ArtifactError, InputError
from tests.artifacts.registry import Registry as Real

PASSWORD = "open sesame"
# `htpasswd -nbB ann "open sesame"`, at the lowest cost
HASHED = "ann:$2y$04$MxEX/AcmCIk9Wf9XCIonMuLKVkDMfrSBIZSHlrxu/C8p6XapBzieS"


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """Writes a configuration of Docker, where it is looked for."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "docker").mkdir()

    def write(**config):
        (tmp_path / "docker" / "config.json").write_text(json.dumps(config))

    return write


def for_ann_alone(folder):
    """The setting of a registry that asks for a password."""
    (folder / "htpasswd").write_text(HASHED)
    return {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}


def auth(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_credentials_are_those_of_the_registry_that_is_asked(docker):
    docker(auths={"one.example.org": auth("ann", "a:b"), "https://two.example.org": {"identitytoken": "token"}})
    assert credentials("one.example.org") == Credentials("ann", "a:b")
    assert credentials("two.example.org") == Credentials(token="token")
    assert not credentials("three.example.org")


def test_a_password_is_never_shown():
    assert PASSWORD not in repr(Credentials("ann", PASSWORD))


def test_a_helper_is_asked(docker, tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\nread -r server\n[ "$server" = one.example.org ] || { echo credentials not found; exit 1; }\n'
        'echo "{\\"Username\\": \\"ann\\", \\"Secret\\": \\"of the helper\\"}"\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    docker(credsStore="test")
    assert credentials("one.example.org") == Credentials("ann", "of the helper")
    assert not credentials("two.example.org")


def test_a_helper_that_is_missing_is_named(docker):
    docker(credHelpers={"one.example.org": "nowhere"})
    with pytest.raises(InputError, match="docker-credential-nowhere, which is not on PATH"):
        credentials("one.example.org")


def test_a_broken_configuration_is_named(docker, tmp_path):
    (tmp_path / "docker" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: no credentials can be read"):
        credentials("one.example.org")


class Service(BaseHTTPRequestHandler):
    """A registry that wants a token, and the service that gives it: for its own users only, and for one scope each."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list] = []

    def do_GET(self):
        where = urlsplit(self.path)
        if where.path == "/token":
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            known = self.headers.get("Authorization") == Credentials("ann", PASSWORD).basic
            self.asked.append((query["service"], query["scope"]))
            self.answer(200 if known else 401, json.dumps({"token": f"for {query['scope']}"}))
            return
        scope = "repository:study:pull"
        if self.headers.get("Authorization") == f"Bearer for {scope}":
            self.answer(200)
            return
        realm = f"http://{self.headers['Host']}/token"
        self.answer(401, challenge=f'Bearer realm="{realm}",service="it",scope="{scope}"')

    do_HEAD = do_GET

    def answer(self, code, body="", challenge=""):
        self.send_response(code)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    Service.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_token_is_asked_for_once_and_used_as_long_as_it_holds(docker, service):
    docker(auths={service: auth("ann", PASSWORD)})
    with Registry(service) as registry:
        assert registry.has_blob("study", EMPTY.digest)
        assert registry.has_blob("study", EMPTY.digest)
    assert Service.asked == [("it", "repository:study:pull")]


def test_a_token_service_that_refuses_is_told(docker, service):
    docker()
    with Registry(service) as registry, pytest.raises(ArtifactError, match="refuses nobody in particular"):
        registry.has_blob("study", EMPTY.digest)


def test_a_registry_that_wants_a_password_gets_it(docker, tmp_path):
    real = Real(tmp_path / "registry", auth=for_ann_alone(tmp_path))
    with contextlib.ExitStack() as stack:
        stack.callback(real.stop)
        docker()
        with Registry(real.host) as registry, pytest.raises(Refusal, match="wants to know who we are: `docker login`"):
            registry.push_blob("study", EMPTY, b"{}")
        docker(auths={real.host: auth("ann", PASSWORD)})
        with Registry(real.host) as registry:
            assert registry.push_blob("study", EMPTY, b"{}") == 2
