"""Seconds from a journal of a million events to an engine that can go on: without a snapshot, with the oldest one that a
run can have then (a snapshot is due every 100,000 records), and with a fresh one; against reading the same bytes."""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from ensemble.engine import Engine
from ensemble.journal import JournalWriter, write_snapshot
from ensemble.model.events import JobEvent, MemberEvent, RunStarted, SubmitAnswered
from ensemble.runtime.loop import SNAPSHOT_RECORDS
from ensemble.spec.loader import loads

FILE = """
jobs:
  - name: melt
    command: lmp -var T {{T}}
    parameters: {{T: [0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]}}
    count: {count}
    outputs: {{pressure: 'P ([-0-9.]+)'}}
rules:
  - {{trigger: metric, name: mean.melt.pressure, when: "> 100", action: {{name: stop}}}}
  - {{trigger: metric, for_each: T, when: rel_ci95.melt.pressure < 0 and count.melt.success > 10, action: {{name: stop}}}}
"""


def make(folder, events):
    """A run in the middle of its life: `events` job events, each job run and ended, the last few still active."""
    spec = loads(FILE.format(count=events // 20 + 10))
    engine = Engine(spec, run="bench")
    run = Path(folder) / "run"
    run.mkdir()
    journal = JournalWriter.create(run, "bench")
    due = {max(events - SNAPSHOT_RECORDS, events // 10): "oldest", events: "fresh"}
    snapshots = {}

    def tell(event, at):
        record = engine.handle(event, at)
        journal.append(record)
        if record.seq % 1000 == 0:
            journal.sync()
        if record.seq in due:
            snapshots[due[record.seq]] = (record.seq, msgspec.json.encode(engine.snapshot()))
        return record

    first = tell(RunStarted("bench", msgspec.to_builtins(spec), "0", spec.seed), 0.0)
    opened = tell(MemberEvent("local", "open", 1.0, stream="s", nodes_up=1, cores_up=2, cores_per_node=2), 1.0)
    keys = []
    for record in (first, opened):
        for command in engine.commands(record):
            keys += [key for key, _ in command.refs()]
            tell(SubmitAnswered(command.id, "local"), 1.5)
    n, at = 0, 2.0
    waiting = iter(keys)
    while engine.seq < events:
        key = next(waiting)
        n, at = n + 2, at + 0.01
        tell(JobEvent("local", key, "run", at, n - 1), at)
        figures = {"pressure": 1.0 + (n % 997) / 1e3}
        end = JobEvent("local", key, "inactive", at + 5, n, outcome="success", exit_code=0, figures=figures)
        record = tell(end, at)
        for command in engine.commands(record):
            keys += [key for key, _ in command.refs()]
            tell(SubmitAnswered(command.id, "local"), at)
    journal.sync()
    journal.close()
    return run, snapshots


ONE = """
import sys, time
from pathlib import Path
from ensemble.journal import JournalWriter
from ensemble.runtime.folding import catch_up, fold
began = time.perf_counter()
run = Path(sys.argv[1])
engine = fold(run).engine
journal = JournalWriter.take_over(run, "bench", engine.seq)
catch_up(engine, run)
print(time.perf_counter() - began, engine.seq)
"""


def measure(run):
    best = 1e9
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", ONE, str(run)], stdout=subprocess.PIPE, text=True, check=True)
        seconds, _ = done.stdout.split()
        best = min(best, float(seconds))
    return best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    folder = tempfile.mkdtemp(dir=".")
    try:
        run, snapshots = make(folder, events)
        files = list((run / "journal").glob("journal.*"))
        size = sum(file.stat().st_size for file in files)
        began = time.perf_counter()
        for file in files:
            file.read_bytes().count(b"\n")
        reading = time.perf_counter() - began
        print(f"resume after {events:,} journaled events ({size / 1e6:,.0f} MB, read in {reading:.2f} s); best of 3")
        cases = [("without a snapshot", None, 10.0)]
        cases += [(f"with the {name} snapshot", found, 1.0) for name, found in snapshots.items()]
        for name, found, reach in cases:
            if found is not None:
                write_snapshot(run, found[0], msgspec.Raw(found[1]))
            spent = measure(run)
            extra = f"snapshot of {len(found[1]) / 1e6:.1f} MB at record {found[0]:,}, " if found else ""
            print(f"  {name:26} {spent:6.2f} s  ({extra}to reach: {reach:g} s, {spent / reach:.2f} of it)")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
