"""What really happened, told by the jobs themselves: a line at the start of each and one at its end."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from ensemble.journal import read
from ensemble.model.errors import JournalError
from ensemble.runtime import verify

DRIVER = Path(__file__).with_name("driver.py")
LINE = 'echo "$ENSEMBLE_KEY $ENSEMBLE_ATTEMPT {what} $(date +%s.%N)" >> {ledger}'


def write_file(folder, jobs, seconds):
    ledger = folder / "ledger"
    ledger.touch()
    start, end = (LINE.format(what=what, ledger=ledger) for what in ("start", "end"))
    half = jobs // 2
    (folder / "e.yaml").write_text(f"""
name: crash
members: {{local: {{nodes: 1, cores: 8}}}}
jobs:
  - name: first
    count: {half}
    shell: true
    command: '{start}; sleep {seconds}; {end}'
  - name: second
    count: {jobs - half}
    shell: true
    submit: rules
    command: '{start}; sleep {seconds}; {end}'
rules:
  - {{trigger: metric, name: count.first.success, when: "== {half // 2}", action: {{name: submit, label: second}}}}
""")
    return folder / "e.yaml", ledger


def parent(pid):
    """The parent of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Crash:
    """One ensemble that is killed and resumed until it is over."""

    def __init__(self, folder, jobs, seconds=0.02):
        self.jobs = jobs
        self.folder = folder
        self.file, self.ledger = write_file(folder, jobs, seconds)
        self.run_dir = folder / "run"
        self.output = folder / "output"

    def start(self, failpoint=""):
        resumed = (self.run_dir / "journal").exists() and any((self.run_dir / "journal").glob("journal.*"))
        words = (
            ["resume", str(self.run_dir)] if resumed and self.started() else ["run", str(self.file), str(self.run_dir)]
        )
        if words[0] == "run" and resumed:
            # killed before its first record was durable: such a run never began
            subprocess.run(["rm", "-rf", str(self.run_dir)], check=True)
        environment = {**os.environ, "ENSEMBLE_HOME": str(self.folder / "home")}
        environment.pop("ENSEMBLE_FAILPOINT", None)
        if failpoint:
            environment["ENSEMBLE_FAILPOINT"] = failpoint
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(DRIVER), *words], stdout=output, stderr=output, env=environment
            )

    def started(self):
        try:
            return next(read(self.run_dir), None) is not None
        except JournalError:
            return False

    def keeper(self):
        try:
            return int((self.run_dir / "keeper" / "local.socket").read_text().split()[2])
        except (OSError, IndexError, ValueError):
            return 0

    def kill_keeper(self):
        pid = self.keeper()
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return False
        return bool(pid)

    def kill_keeper_and_guard(self, guard_first):
        """Kill the keeper and its parent, as if somebody had named both to `kill -9`."""
        keeper = self.keeper()
        guard = parent(keeper)
        if guard > 1:
            for pid in (guard, keeper) if guard_first else (keeper, guard):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return guard > 1

    def finish(self, limit=20.0):
        """Resume until the run is over; returns its exit code."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            process = self.start()
            try:
                code = process.wait(max(1.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("the run does not end\n" + self.story()) from None
            if code == 0:
                return 0
        raise AssertionError("the run does not end well\n" + self.story())

    def story(self):
        keepers = "".join(path.read_text() for path in sorted((self.run_dir / "keeper").glob("*.err")))
        return self.output.read_text()[-3000:] + keepers[-3000:]

    def check(self):
        """Every job finished; none ran twice at once; none that finished ran again; nobody is left; it verifies."""
        story = defaultdict(list)
        for line in self.ledger.read_text().splitlines():
            key, attempt, what, at = line.split()
            story[key].append((float(at), what, int(attempt)))
        assert len(story) == self.jobs, f"{self.jobs - len(story)} jobs never ran\n" + self.story()
        for key, lines in story.items():
            ends = [at for at, what, _ in lines if what == "end"]
            assert len(ends) == 1, f"{key}: {lines}\n" + self.story()
            assert all(at <= ends[0] for at, what, _ in lines if what == "start"), f"{key} ran again: {lines}"
            attempts = [attempt for _, what, attempt in lines if what == "start"]
            assert len(attempts) == len(set(attempts)), f"{key}: an attempt started twice: {lines}"
        found = verify(self.run_dir)
        assert not found.difference, found.difference
        until = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not left, f"left behind: {left}"

    def processes(self):
        mark = f"ENSEMBLE_RUN_DIR={self.run_dir}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append((entry.name, (entry / "cmdline").read_bytes()))
                except OSError:
                    continue
        return found
