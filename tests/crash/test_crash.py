"""kill -9 at every named place and at random moments: nothing is lost and nothing is doubled.

`ENSEMBLE_CRASH_ROUNDS` is the number of random moments (default 6), `ENSEMBLE_CRASH_JOBS` of jobs there.
"""

import os
import random
import signal
import time

import pytest

from ensemble.model.failpoints import FAILPOINTS
from tests.crash.ledger import Crash

ROUNDS = int(os.environ.get("ENSEMBLE_CRASH_ROUNDS", "6"))
JOBS = int(os.environ.get("ENSEMBLE_CRASH_JOBS", "60"))


@pytest.mark.parametrize("turn", [1, 7])
@pytest.mark.parametrize("name", FAILPOINTS)
def test_killed_at_a_failpoint(tmp_path, name, turn):
    crash = Crash(tmp_path, 30)
    process = crash.start(f"{name}:{turn}")
    code = process.wait(30)
    if name.startswith("keeper."):
        died = len(list((crash.run_dir / "keeper").glob("keeper.*.log"))) > 1
    else:
        died = code == -signal.SIGKILL
    # some places are passed once only; the first time there must be one
    assert died or turn > 1, "the failpoint was never reached"
    crash.finish()
    crash.check()


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_killed_at_a_random_moment(tmp_path, turn):
    draw = random.Random(turn)
    who = ("engine", "keeper", "both")[turn % 3]
    crash = Crash(tmp_path, JOBS)
    for _ in range(draw.randint(1, 3)):
        process = crash.start()
        time.sleep(draw.uniform(0.05, 0.3 + JOBS * 0.005))
        if process.poll() is not None:
            break
        if who != "engine":
            crash.kill_keeper()
        if who != "keeper":
            process.send_signal(signal.SIGKILL)
            process.wait()
        else:
            # the engine opens its member again by itself
            assert process.wait(60) == 0, crash.story()
    crash.finish()
    crash.check()


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_a_job_that_has_ended_never_runs_again_when_keeper_and_guard_are_killed(tmp_path, turn):
    draw = random.Random(100 + turn)
    crash = Crash(tmp_path, 120)
    process = crash.start()
    for _ in range(2):
        time.sleep(draw.uniform(0.2, 0.6))
        if crash.kill_keeper_and_guard(guard_first=draw.random() < 0.5) and turn % 2:
            # and the engine with them
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = crash.start()
    process.wait(60)
    crash.finish()
    crash.check()
