"""What the tests of runs share: the command line, and a run whose jobs wait for a file."""

import contextlib
import json
import os
import subprocess
import sys

GATED = """
name: gated
members: {local: {cores: 2}}
jobs:
  - {name: work, shell: true, count: 5, max_running: MOST,
     command: 'echo {key} >> LEDGER; until test -e GATE; do sleep 0.05; done'}
"""


class Here:
    """A directory with an index of runs of its own."""

    def __init__(self, where):
        self.where = where
        self.env = {**os.environ, "ENSEMBLE_HOME": str(where / "home")}

    def __call__(self, *args, code=0, before=()):
        words = [*before, sys.executable, "-m", "ensemble", *args]
        done = subprocess.run(words, cwd=self.where, env=self.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def started(self, *args):
        """A verb in a process of its own; at the end it must be over."""
        process = subprocess.Popen(
            [sys.executable, "-m", "ensemble", *args], cwd=self.where, env=self.env, stdout=subprocess.PIPE, text=True
        )
        try:
            if args[0] == "run":
                assert "run " in process.stdout.readline()
            yield process
            process.wait(60)
        finally:
            if process.poll() is None:
                process.kill()
            process.stdout.close()

    def gated(self, most=2):
        """Write the file of a run whose jobs wait, at `most` so many at once; return its name."""
        text = GATED.replace("LEDGER", str(self.ledger)).replace("GATE", str(self.where / "gate"))
        text = text.replace("MOST", str(most))
        (self.where / "gated.yaml").write_text(text)
        return "gated.yaml"

    def open_gate(self):
        (self.where / "gate").touch()

    @property
    def ledger(self):
        return self.where / "ledger"

    def until_running(self, count, *options):
        """Follow the events until so many jobs run."""
        with self.started("events", "--follow", "gated-1", *options) as process:
            for line in process.stdout:
                count -= json.loads(line)["event"].get("state") == "run"
                if not count:
                    break
            process.kill()
