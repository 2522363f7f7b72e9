"""A server that does not outlive its test."""

import pytest

from tests.service.world import Server


@pytest.fixture
def serve(tmp_path):
    servers = []

    def make(*options, address=""):
        servers.append(Server(tmp_path, *options, address=address))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            server.end()
