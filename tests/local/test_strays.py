"""What a job started ends with it, in whichever session it hides; and the guards end when nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ensemble.journal.writer import process_start
from tests.faults.test_machine import command, ensemble, surroundings, until

DAEMON = """
import os, signal, sys, time
kind, name = sys.argv[1:]
def fork():
    if os.fork():
        os._exit(0)
if kind == "doubly-forked":
    fork(); os.setsid(); fork()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif kind == "in-a-session":
    fork(); os.setsid()
elif kind == "in-a-group":
    fork(); os.setpgid(0, 0)
elif kind == "without-environment":
    fork(); os.setsid()
    os.execve(sys.executable, [sys.executable, __file__, "plain", name], {})
elif kind == "with-children":
    fork(); os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid(); os.fork()
with open(name, "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(300)
"""

KINDS = ("in-a-session", "in-a-group", "doubly-forked", "without-environment", "with-children")


def daemons(where, before="", after=""):
    """The words of a job that leaves one daemon of each kind, and waits until each has begun."""
    (where / "daemon.py").write_text(DAEMON)
    started = "\n".join(f"{sys.executable} {where}/daemon.py {kind} $ENSEMBLE_KEY.{kind}" for kind in KINDS)
    waiting = "\n".join(f"while ! [ -s $ENSEMBLE_KEY.{kind} ]; do sleep 0.02; done" for kind in KINDS)
    return "\n".join((before, started, waiting, after))


def job(name, count, text):
    lines = "".join(f"      {line}\n" for line in text.splitlines() if line)
    return f"  - name: {name}\n    count: {count}\n    shell: true\n    command: |\n{lines}"


def write(where, *jobs):
    (where / "e.yaml").write_text("name: s\nmembers: {local: {nodes: 1, cores: 4}}\njobs:\n" + "".join(jobs))


def left(where):
    """Daemons of the test that live."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(where / "daemon.py") in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def guards(where):
    """Guards of the run that live."""
    found = []
    for log in (where / "runs/s-1/keeper").glob("guard.*.log"):
        for line in log.read_text().splitlines():
            if line.startswith("guard "):
                _, pid, ticks = line.split()
                if process_start(int(pid)) == int(ticks):
                    found.append(int(pid))
    return found


@pytest.fixture
def where(tmp_path):
    yield tmp_path
    for pid in left(tmp_path):
        os.kill(pid, signal.SIGKILL)


def test_every_kind_of_daemon_ends_with_its_run_and_the_guards_end_too(where):
    write(where, job("a", 8, daemons(where)))
    done = ensemble(where, "run", "e.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert left(where) == []
    until(lambda: not guards(where), "the guards stay")


def test_a_daemon_ends_with_its_own_job_while_those_of_another_live_on(where):
    write(where, job("long", 1, daemons(where, after="sleep 60")), job("short", 1, daemons(where)))
    run = subprocess.Popen(command("run", "e.yaml"), cwd=where, env=surroundings(where), stdout=subprocess.DEVNULL)
    jobs = where / "runs/s-1/jobs"

    def pids(key, kind):
        try:
            return [int(line) for line in (jobs / f"{key}-0" / f"{key}-0.{kind}").read_text().split()]
        except OSError:
            return []

    until(lambda: all(pids(key, kind) for key in ("long", "short") for kind in KINDS), "no daemons")
    # one without an environment is nobody's for certain: it ends when all that ran when it began are over
    marked = [kind for kind in KINDS if kind != "without-environment"]
    until(
        lambda: not any(process_start(pid) for kind in marked for pid in pids("short", kind)),
        "daemons outlive their job",
    )
    assert all(process_start(pid) for kind in KINDS for pid in pids("long", kind))
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 130
    assert left(where) == []


def test_the_guards_end_daemons_and_themselves_when_engine_and_keeper_were_killed(where):
    write(where, job("a", 2, daemons(where, after="while ! [ -e ../../go ]; do sleep 0.02; done")))
    run = subprocess.Popen(command("run", "e.yaml"), cwd=where, env=surroundings(where), stdout=subprocess.DEVNULL)
    until(lambda: len(left(where)) >= 2 * (len(KINDS) + 2), "no daemons")
    keeper = int((where / "runs/s-1/keeper/local.socket").read_text().split()[2])
    run.kill()
    run.wait()
    os.kill(keeper, signal.SIGKILL)
    assert guards(where)
    (where / "runs/s-1/go").touch()
    until(lambda: not left(where) and not guards(where), "they stay")
    assert ensemble(where, "resume", "s-1").returncode == 0
