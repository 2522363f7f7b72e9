"""A server that starts again where it cannot see whether the process before it is gone, as in a container."""

import asyncio

import msgspec

from ensemble.journal import Header
from ensemble.runtime.alive import RunProcess
from ensemble.service import host as module
from ensemble.service.host import Host, Submission
from ensemble.service.limits import Ceilings
from ensemble.spec.loader import loads

FILE = "jobs: [{name: a, command: 'true'}]"


def test_it_continues_its_runs_once_the_lease_of_that_process_has_expired(tmp_path, monkeypatch):
    header = Header("it-1", epoch=1, pid=1, host="pod")
    answers = [RunProcess(header, "lease")] * 3
    monkeypatch.setattr(module, "process_at", lambda run_dir: answers.pop() if answers else None)
    monkeypatch.setattr(module, "LEASE_LOOK_SECONDS", 0.01)
    logged = []
    submission = Submission("it-1", "ada", msgspec.to_builtins(loads(FILE)))
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "it-1.json").write_bytes(msgspec.json.encode(submission))

    async def run():
        host = Host(tmp_path, Ceilings(), lambda name, text="", **fields: logged.append(name))
        host.restore()
        hosted = host.find("it-1")
        await hosted.task
        return hosted

    hosted = asyncio.run(run())
    assert (hosted.result.outcome, hosted.trouble) == ("success", "")
    assert not answers
    assert logged.count("waiting") == 1
