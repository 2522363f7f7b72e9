"""What the tests of the service share: a real server, the verbs beside it, tokens."""

import contextlib
import os
import signal
import subprocess
import sys

import msgspec
from msgspec.structs import replace

from ensemble.model.decisions import Record

SMALL = """
name: small
jobs:
  - name: work
    parameters: {N: [1, 2]}
    command: echo result {N}
    outputs: {result: 'result (.*)'}
rules:
  - {id: never, trigger: metric, when: count.work.failed > 0, action: terminate}
"""
SLOW = "name: slow\njobs:\n  - {name: work, shell: true, count: 2, command: 'echo {key} >> LEDGER && sleep 1'}\n"
LONG = "name: long\njobs:\n  - {name: work, count: 3, command: sleep 600}\n"

MAIN = [sys.executable, "-m", "ensemble.service.main"]
decode = msgspec.json.Decoder(Record).decode


class Server:
    def __init__(self, where, *options, address=""):
        self.where, self.options = where, options
        self.address = address or f"unix:{where}/s"
        self.env = {**os.environ, "ENSEMBLE_HOME": str(where / "home")}
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [*MAIN, "start", "--listen", self.address, "--state", "state", *self.options],
            cwd=self.where,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=(self.where / "log").open("a"),
            text=True,
        )
        said = self.process.stdout.readline()
        assert "listening on" in said, (self.where / "log").read_text()
        self.bound = said.split()[-1]

    def verb(self, verb, *args, **env):
        return subprocess.run(
            [sys.executable, "-m", "ensemble", verb, "--server", self.bound, *args],
            cwd=self.where,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process.stdout.close()
        return code


def start_failing(where, *options):
    return subprocess.run(
        [*MAIN, "start", "--state", "state", *options],
        cwd=where,
        env={**os.environ, "ENSEMBLE_HOME": str(where / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def record(line):
    """What a line says; the counts of a queue go over the wire with their zeros."""
    found = decode(line)
    if getattr(found.event, "queue", None) is not None:
        queue = {name: count for name, count in found.event.queue.items() if count}
        found = replace(found, event=replace(found.event, queue=queue))
    return found


def write(where, text, name="a.yaml"):
    (where / name).write_text(text)
    return name


def local(where, *args):
    return subprocess.run(
        [sys.executable, "-m", "ensemble", *args],
        cwd=where,
        env={**os.environ, "ENSEMBLE_HOME": str(where / "home")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def make_token(where, *options):
    made = subprocess.run(
        [*MAIN, "token", "--state", "state", *options],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    path = where / f"token{len(options)}{options[-1] if options else ''}"
    path.touch(0o600)
    path.write_text(made.stdout)
    return str(path)


@contextlib.contextmanager
def agent(server, *options):
    """An agent that dials the server, as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ensemble", "agent", "--connect", server.bound, *options],
        cwd=server.where,
        env=server.env,
        stderr=(server.where / "agent.log").open("a"),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
