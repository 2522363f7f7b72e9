"""A server, agents and what lies between them: all real, all of which may be cut or killed at any moment."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from ensemble.runtime import verify

LINE = 'echo "$ENSEMBLE_KEY $ENSEMBLE_ATTEMPT {what} $(date +%s.%N)" >> {ledger}'


class Cutter:
    """Passes bytes on between two Unix sockets and cuts a connection after a random number of them."""

    def __init__(self, path, target, random):
        self.path, self.target, self.random = path, target, random
        self.cuts = 0

    async def __aenter__(self):
        self.server = await asyncio.start_unix_server(self.serve, self.path)
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        try:
            there, back = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.transport.abort()
            return
        # from within the first message to some hundred messages: a batch larger than any cut would never arrive
        left = [int(10 ** self.random.uniform(2.3, 5.0))]
        try:
            await asyncio.gather(self.pump(reader, back, left), self.pump(there, writer, left))
        finally:
            for one in (writer, back):
                one.transport.abort()

    async def pump(self, reader, writer, left):
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                data = data[: max(0, left[0])]
                left[0] -= len(data)
                writer.write(data)
                await writer.drain()
                if left[0] <= 0:
                    self.cuts += 1
                    break
        writer.transport.abort()


class Process:
    """A program of ours that is killed and started again."""

    def __init__(self, folder, name, *words):
        self.folder, self.words = folder, [sys.executable, "-m", *words]
        self.output = folder / f"{name}.log"
        self.env = {**os.environ, "ENSEMBLE_HOME": str(folder / "home")}
        self.start()

    def start(self):
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.words, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self, seconds=30.0):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


class World:
    """`ensembles` on one server with `jobs` each: the first half dials, an agent for each; of the others four share one
    agent that listens."""

    def __init__(self, folder, ensembles, jobs, random):
        self.folder, self.count, self.jobs, self.random = folder, ensembles, jobs, random
        self.names = [f"chaos{number}" for number in range(ensembles)]
        self.dialling = self.names[: ensembles // 2]
        self.agents = []
        self.cutters = []

    async def __aenter__(self):
        self.stack = contextlib.AsyncExitStack()
        self.server = Process(
            self.folder, "server", "ensemble.service.main", "start", "--listen", "unix:s", "--state", "state"
        )
        self.stack.callback(self.server.kill)
        await self.until(lambda: (self.folder / "s").exists(), "the server listens", 30)
        await self.cut("p", "s")
        for number in range(-(-(self.count - len(self.dialling)) // 4)):
            self.agent(f"agent{number}", "--listen", f"unix:l{number}")
            await self.until(lambda number=number: (self.folder / f"l{number}").exists(), "an agent listens", 30)
            await self.cut(f"q{number}", f"l{number}")
        return self

    async def __aexit__(self, *_):
        for agent in self.agents:
            agent.kill()
        await self.stack.aclose()

    async def cut(self, path, target):
        cutter = Cutter(str(self.folder / path), str(self.folder / target), self.random)
        self.cutters.append(await self.stack.enter_async_context(cutter))

    def agent(self, name, *words):
        self.agents.append(Process(self.folder, name, "ensemble", "agent", "--member", "local", *words))

    async def submit(self):
        """Hand all ensembles over, and start the agents that dial."""
        for number, name in enumerate(self.names):
            place = number - len(self.dialling)
            address = f", options: {{address: 'unix:{self.folder}/q{place // 4}'}}" if place >= 0 else ""
            (self.folder / f"{name}.yaml").write_text(self.file(name, address))
            words = ["run", "--server", f"unix:{self.folder}/s", "--detach", f"{name}.yaml"]
            process = Process(self.folder, f"run-{name}", "ensemble", *words)
            code = await asyncio.to_thread(process.process.wait, 60)
            assert code == 0, process.output.read_text()
            if place < 0:
                self.agent(name, "--connect", f"unix:{self.folder}/p", "--run", f"{name}-1", "--name", "far")

    def file(self, name, options):
        ledger = self.folder / f"{name}.ledger"
        ledger.touch()
        start, end = (LINE.format(what=what, ledger=ledger) for what in ("start", "end"))
        half = self.jobs // 2
        return f"""
name: {name}
members: {{far: {{kind: remote, nodes: 1, cores: 4{options}}}}}
jobs:
  - {{name: first, count: {half}, shell: true, command: '{start}; sleep 0.05; {end}'}}
  - {{name: second, count: {self.jobs - half}, shell: true, submit: rules, command: '{start}; sleep 0.05; {end}'}}
rules:
  - {{trigger: metric, name: count.first.success, when: "== {half // 2}", action: {{name: submit, label: second}}}}
"""

    def ended(self):
        """How many jobs have written their end."""
        return sum((self.folder / f"{name}.ledger").read_text().count(" end ") for name in self.names)

    def over(self):
        """The names of the runs that have ended."""
        return {name for name in self.names if self.has_ended(name)}

    def has_ended(self, name):
        journal = sorted((self.run_dir(name) / "journal").glob("journal.*"))
        return any(b'"type":"end"' in segment.read_bytes() for segment in journal)

    def run_dir(self, name):
        return self.folder / "state" / "runs" / f"{name}-1"

    async def until(self, true, what, seconds):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what}: not within {seconds} s\n{self.story()}"
            await asyncio.sleep(0.05)

    def story(self):
        """The last words of everybody."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(
            f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs if log.stat().st_size
        )

    def check(self, name):
        """Every job finished; none ran twice; the journal verifies; nobody is left."""
        story = defaultdict(list)
        for line in (self.folder / f"{name}.ledger").read_text().splitlines():
            key, attempt, what, _ = line.split()
            story[key].append((what, attempt))
        assert len(story) == self.jobs, f"{name}: {self.jobs - len(story)} jobs never ran\n{self.story()}"
        wrong = {key: lines for key, lines in story.items() if lines != [("start", "1"), ("end", "1")]}
        assert not wrong, f"{name}: {wrong}\n{self.story()}"
        found = verify(self.run_dir(name))
        assert not found.difference, f"{name}: {found.difference}"

    def left(self):
        """Processes of jobs that are still there."""
        mark = f"ENSEMBLE_RUN_DIR={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "environ").read_bytes().split(b"\0")
                    if any(word.startswith(mark) for word in words):
                        found.append((entry.name, (entry / "cmdline").read_bytes()))
        return found
