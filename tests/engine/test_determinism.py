"""One file of events gives identical bytes: under two hash seeds, and on every Python found here."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("golden-digest.txt")

SCRIPT = """
import hashlib, json, sys
import msgspec
from tests.engine.world import World
text = '''
seed: 42
limits: {jobs: 200}
jobs:
  - {name: melt, command: "x {T} {N}", parameters: {T: [0.8, 1.1, 1.4], N: [1, 2]}, count: 3, order: random,
     submit: start, retries: 1, outputs: {p: '(.)'}, valid: "p > 0.1", max_running: 5}
  - {name: post, command: y, submit: rules}
rules:
  - {trigger: metric, for_each: T, when: "rel_ci95.melt.p > 0.1 and p95.melt.duration < 9 and mad.melt.p >= 0",
     action: {name: submit, label: melt, value: 1, repetitions: 4, backoff: 1}}
  - {trigger: job-fail, name: melt, action: {name: submit, label: post, repetitions: unlimited, cooldown: 2s}}
  - {trigger: idle, action: {name: submit, label: melt, parameters: {T: [2.0], N: [3]}}}
'''
world = World(text)
turn = 0
while world.open and turn < 500:
    turn += 1
    key = list(world.open)[turn * 7 % len(world.open)]
    if turn % 5 == 0:
        world.bad(key, 0.37)
    else:
        world.good(key, 0.1 * (turn % 11) + 0.01, figures={"p": (turn * 37 % 101) / 100})
world.replays()
body = b"\\n".join(msgspec.json.encode(record) for record in world.records)
body += json.dumps(world.engine.snapshot(), sort_keys=True).encode()
print(len(world.records), hashlib.sha256(body).hexdigest())
"""


def digest(python, hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [python, "-c", SCRIPT], capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_the_same_bytes_under_any_hash_seed(hash_seed):
    assert digest(sys.executable, hash_seed) == GOLDEN.read_text().strip()


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_same_bytes_on_other_pythons(version):
    python = shutil.which(f"python{version}")
    if not python:
        pytest.skip(f"python{version} is not on this machine")
    check = subprocess.run([python, "-c", "import msgspec, yaml, ensemble"], capture_output=True, text=True)
    if check.returncode:
        pytest.skip(f"python{version} has no ensemble installed: {check.stderr.strip().splitlines()[-1]}")
    assert digest(python, "0") == GOLDEN.read_text().strip()


def test_the_golden_digest_is_of_a_real_run():
    records, found = GOLDEN.read_text().split()
    assert int(records) > 100
    assert len(found) == hashlib.sha256().digest_size * 2
