"""Every command of docs/service.md is run, in its order, by a shell."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the service needs the extra `service`")

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/service.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


class Shell:
    """Runs commands as a person would; servers in the background, one at a time."""

    def __init__(self, where):
        self.where, self.server, self.port = where, None, "0"
        for name, module in (("ensemble", "ensemble"), ("ensemble-server", "ensemble.service.main")):
            program = where / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            program.chmod(0o755)
        path = f"{where}/bin{os.pathsep}{os.environ['PATH']}"
        home = {"ENSEMBLE_HOME": str(where / "home"), "XDG_RUNTIME_DIR": str(where)}
        self.how = {"cwd": where, "env": {**os.environ, "PATH": path, **home}, "text": True}

    def here(self, command):
        """The command with the names that this machine has."""
        names = {"/run/user/1000": str(self.where), "head.cluster": "localhost", ":50051": f":{self.port}"}
        for there, here in names.items():
            command = command.replace(there, here)
        return command

    def run(self, command):
        done = subprocess.run(["/bin/sh", "-c", self.here(command)], **self.how, capture_output=True, timeout=120)
        assert done.returncode == 0, command + "\n" + done.stdout + done.stderr
        return done.stdout

    def serve(self, command):
        assert self.stop() == 0
        self.port = "0"
        words = ["/bin/sh", "-c", f"exec {self.here(command)}"]
        log = (self.where / "log").open("a")
        self.server = subprocess.Popen(words, **self.how, stdout=subprocess.PIPE, stderr=log)
        said = self.server.stdout.readline()
        assert "listening on" in said, command + "\n" + (self.where / "log").read_text()
        self.port = said.strip().rpartition(":")[2]
        return said

    def stop(self):
        if self.server is not None:
            server, self.server = self.server, None
            server.send_signal(signal.SIGTERM)
            server.stdout.close()
            return server.wait(30)
        return 0


def test_the_commands_of_the_document_do_what_it_says(tmp_path):
    shutil.copy(ROOT / "examples/hello-world.yaml", tmp_path)
    shell = Shell(tmp_path)
    said = {}
    try:
        for command in COMMANDS:
            work = shell.serve if command.startswith("ensemble-server start") else shell.run
            said[command] = work(command)
    finally:
        shell.stop()
    assert any(f"unix:{tmp_path}/ensemble.sock" in text for text in said.values())
    assert [text for command, text in said.items() if " run " in command and "hello-world-1: success" in text]
    lists = [text for command, text in said.items() if command.startswith("ensemble list")]
    assert len(lists) >= 2
    assert all("hello-world-1" in text and "success" in text for text in lists), (
        "the second server went on with the state"
    )


def test_every_option_that_the_document_names_is_there():
    import click

    from ensemble.cli.main import VERBS, ensemble
    from ensemble.service.main import server

    context = click.Context(ensemble, info_name="ensemble")
    commands = [ensemble.get_command(context, verb) for verb in VERBS] + list(server.commands.values())
    there = {name for command in commands for one in command.params for name in one.opts}
    assert sorted(set(re.findall(r"--[a-z][a-z-]+", TEXT)) - there) == []


def test_every_option_of_the_server_stands_in_the_document():
    from ensemble.service.main import server

    options = {one.opts[0] for command in server.commands.values() for one in command.params if one.opts[0][:2] == "--"}
    assert sorted(option for option in options if option not in TEXT) == []
