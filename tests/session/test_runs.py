# ruff: noqa: ASYNC110
"""A whole run over remote members: streams are cut, the agent is killed, and each job runs once."""

import asyncio
import os
import subprocess
import sys

import pytest

from ensemble.members.remote import ACCEPTOR
from ensemble.runtime import RunOptions
from ensemble.runtime import run as run_ensemble
from ensemble.runtime.results import rows
from ensemble.spec.loader import loads
from tests.session.world import Proxy, service

FILE = """
name: far
members:
  far: {kind: remote, nodes: 2, cores: 4, options: {inner: local, outage: 3, wait: 30%s}}
jobs:
  - {name: a, count: 60, command: "sh -c 'echo start {key} >> LEDGER; sleep 0.1; echo end {key} >> LEDGER'"}
rules:
  - {trigger: job-success, name: a, action: {name: submit, label: b, repetitions: 20}}
"""
LATER = """
  - {name: b, submit: rules, command: "sh -c 'echo start {key} >> LEDGER; echo end {key} >> LEDGER'"}
"""


def start(folder, *arguments):
    with (folder / "agent.log").open("ab") as log:
        command = [sys.executable, "-m", "ensemble", "agent", "--base", str(folder / "there"), *arguments]
        return subprocess.Popen(command, stdout=log, stderr=log)


@pytest.mark.parametrize("door", ["listen", "connect"])
def test_each_job_of_a_run_runs_once_though_streams_are_cut_and_the_agent_is_killed(door, tmp_path):
    ledger = tmp_path / "ledger"

    async def work():
        address = str(tmp_path / "agent.sock")
        # at times a stream must live long enough for the command that submits all jobs (some 45 kB)
        async with service() as (acceptor, bound), Proxy(bound, 3, 2000, 200_000) as proxy:
            ACCEPTOR.set(acceptor)
            if door == "listen":
                arguments = ("--listen", address)
                option = f", address: {address}"
            else:
                arguments = ("--connect", proxy.address, "--run", "far-1", "--name", "far")
                option = ""
            text = (FILE % option).replace("rules:", LATER.strip("\n") + "\nrules:").replace("LEDGER", str(ledger))
            agent = start(tmp_path, *arguments)
            running = asyncio.create_task(
                run_ensemble(loads(text), RunOptions(base=str(tmp_path / "runs"), signals=False))
            )
            try:
                for kills in (1, 2):
                    while not running.done() and not (ledger.exists() and ledger.read_text().count("end") > kills * 15):
                        await asyncio.sleep(0.02)
                    agent.kill()
                    agent.wait()
                    agent = start(tmp_path, *arguments)
                result = await running
            finally:
                agent.kill()
                agent.wait()
            return result

    result = asyncio.run(asyncio.wait_for(work(), 60))
    assert (result.outcome, result.warnings) == ("success", [])
    lines = ledger.read_text().splitlines()
    keys = [f"a-{n}" for n in range(60)] + [f"b-{n}" for n in range(20)]
    for what in ("start", "end"):
        assert sorted(line for line in lines if line.startswith(what)) == sorted(f"{what} {key}" for key in keys)
    found = list(rows(result.run_dir))
    assert len(found) == 80
    assert {row["outcome"] for row in found} == {"success"}
    # the work was done in the agent's directory, and nothing of it in the service's
    assert len(os.listdir(tmp_path / "there" / "far-1" / "jobs")) == 80
