"""GPUs and virtual nodes of the real local member: what a job sees is its own, while nodes and keepers come and go."""

from tests.faults.test_jobs import ensemble

JOB = """#!/bin/sh
echo "$ENSEMBLE_KEY start $(date +%s%N) $CUDA_VISIBLE_DEVICES" >> {ledger}
eval "$1"
echo "$ENSEMBLE_KEY end $(date +%s%N) $CUDA_VISIBLE_DEVICES" >> {ledger}
"""

RULES = """
name: g
members: {local: {nodes: 2, cores: 4, gpus: 2}}
jobs:
  - {name: one, command: ./job.sh 'sleep 0.15', gpus: 1, count: 16, inputs: [job.sh]}
  - {name: two, command: ./job.sh 'sleep 0.15', gpus: 2, count: 4, inputs: [job.sh]}
  - {name: none, command: ./job.sh 'sleep 0.05', count: 4, inputs: [job.sh]}
rules:
  - {trigger: metric, name: count.one.success, when: ">= 2", action: {name: grow, value: 2}}
  - {trigger: metric, name: count.one.success, when: ">= 10", action: {name: shrink, value: 3}}
"""

KILL = """
name: g
members: {local: {nodes: 1, cores: 4, gpus: 2}}
jobs:
  - {name: short, command: ./job.sh 'sleep 0.2', gpus: 1, inputs: [job.sh]}
  - name: long
    command: ./job.sh 'until grep -q after-2.end ../../../../ledger; do sleep 0.1; done'
    gpus: 1
    inputs: [job.sh]
  - name: killer
    submit: rules
    shell: true
    command: kill -9 $(sed -n 3p $ENSEMBLE_RUN_DIR/keeper/local.socket)
  - {name: after, command: ./job.sh 'sleep 0.2', gpus: 1, count: 3, inputs: [job.sh], submit: rules}
rules:
  - {trigger: job-success, name: short, action: {name: submit, label: killer}}
  - {trigger: job-finish, name: killer, action: {name: submit, label: after}}
"""


def prepared(where, text):
    (where / "job.sh").write_text(JOB.format(ledger=where / "ledger"))
    (where / "job.sh").chmod(0o755)
    (where / "e.yaml").write_text(text)


def held(where):
    """(key, GPUs, from, until) of each job, by what the jobs themselves wrote."""
    begun, found = {}, []
    for line in (where / "ledger").read_text().splitlines():
        key, what, time, *devices = line.split(" ")
        gpus = tuple(int(gpu) for gpu in devices[0].split(",") if gpu not in ("", "-1"))
        if what == "start":
            begun[key] = int(time)
        else:
            found.append((key, gpus, begun[key], int(time)))
    return found


def shared(jobs):
    """Pairs of jobs that had a GPU at the same time, and the most GPUs in use at once."""
    pairs = [
        (one[0], other[0])
        for place, one in enumerate(jobs)
        for other in jobs[:place]
        if set(one[1]) & set(other[1]) and one[2] < other[3] and other[2] < one[3]
    ]
    most = max(len({gpu for _, gpus, begin, end in jobs if begin <= at < end for gpu in gpus}) for _, _, at, _ in jobs)
    return pairs, most


def test_jobs_at_the_same_time_share_no_gpu_while_rules_grow_and_shrink_the_member(tmp_path):
    prepared(tmp_path, RULES)
    done = ensemble(tmp_path, "run", "e.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = held(tmp_path)
    assert {key: len(gpus) for key, gpus, _, _ in jobs} == {
        **{f"one-{number}": 1 for number in range(16)},
        **{f"two-{number}": 2 for number in range(4)},
        **{f"none-{number}": 0 for number in range(4)},
    }
    pairs, most = shared(jobs)
    assert not pairs
    assert most > 4, "nodes that came brought GPUs of their own"
    sizes = ensemble(tmp_path, "status", "-o", "json").stdout
    assert '"nodes_up":1' in sizes.replace(" ", ""), sizes


def test_a_keeper_that_takes_over_knows_which_gpus_the_running_jobs_have(tmp_path):
    prepared(tmp_path, KILL)
    done = ensemble(tmp_path, "run", "e.yaml")
    assert "the keeper is gone" in done.stdout, done.stdout + done.stderr
    jobs = held(tmp_path)
    assert [key for key, *_ in jobs].count("long-0") == 1, done.stdout + done.stderr
    assert len(jobs) == 5, done.stdout + done.stderr
    pairs, most = shared(jobs)
    assert not pairs
    assert most == 2, "the jobs after ran beside the long one"
