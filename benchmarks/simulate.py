"""How long a simulation takes, and what it needs: from a thousand jobs to a million, each in a fresh process.

    python benchmarks/simulate.py                 # 1,000 to 1,000,000 jobs
    python benchmarks/simulate.py --jobs 100000   # one size
    python benchmarks/simulate.py --profile 20000 # where the time goes

The ensemble: lognormal durations, 1 % of attempts fail and are tried again, a figure of merit, two rules that read
metrics after every job, on 32 nodes x 32 cores. `cpu` is the process's own time: on a shared machine the honest one.
The ratio says whether an event costs more in a large ensemble: that of the largest size to that of the smallest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time

SIZES = (1_000, 10_000, 100_000, 1_000_000)

MODELS = {
    "lognormal": {"distribution": "lognormal", "mean": 10, "cv": 0.3},
    "constant": 10,
}


def spec(jobs: int, model: str, scheduler: str):
    from ensemble.spec.model import ActionSpec, EnsembleSpec, GroupSpec, MemberSpec, OutputRule, RetrySpec, RuleSpec

    simulate = {"duration": MODELS[model]}
    if model != "constant":
        simulate |= {"failure_rate": 0.01, "figures": {"pressure": {"distribution": "normal", "mean": 5, "std": 1}}}
    return EnsembleSpec(
        name="benchmark",
        seed=1,
        members={"m": MemberSpec(kind="simulated", nodes=32, cores=32, options={"scheduler": scheduler})},
        jobs=(
            GroupSpec(
                name="work",
                command="app",
                count=jobs,
                submit="start",
                retries=RetrySpec(limit=3),
                simulate=simulate,
                outputs={"pressure": OutputRule(pattern="x")} if model != "constant" else {},
            ),
            GroupSpec(name="after", command="sleep 5", count=10, submit="rules"),
        ),
        rules=(
            RuleSpec(
                trigger="metric",
                name="count.work.success",
                when=f">= {jobs // 2}",
                action=ActionSpec(name="submit", label="after"),
            ),
            RuleSpec(trigger="metric", name="mean.work.duration", when="> 1000", action=ActionSpec(name="terminate")),
        ),
    )


def one(jobs: int, model: str, scheduler: str) -> dict:
    from ensemble.simulation import simulate

    before = time.process_time()
    result = simulate(spec(jobs, model, scheduler))
    run = result.runs[0]
    assert run.outcome == "success", (run.outcome, run.reason)
    return {
        "jobs": jobs,
        "seconds": result.seconds,
        "cpu": time.process_time() - before,
        "events": run.events,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "makespan": run.makespan,
        "utilisation": run.utilisation,
    }


def fresh(jobs: int, model: str, scheduler: str) -> dict:
    command = [sys.executable, __file__, "--jobs", str(jobs), "--json", "--model", model, "--scheduler", scheduler]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def show(row: dict) -> None:
    each = row["cpu"] / row["events"] * 1e6
    print(
        f"{row['jobs']:>10,} {row['events']:>10,} {row['seconds']:>9.2f} {row['cpu']:>9.2f} "
        f"{row['events'] / row['seconds']:>12,.0f} {each:>9.2f} {row['peak_mib']:>9.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--model", choices=MODELS, default="lognormal")
    parser.add_argument("--scheduler", choices=("fifo", "backfill"), default="fifo")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", type=int, metavar="JOBS")
    options = parser.parse_args()
    if options.profile:
        import cProfile
        import pstats

        profile = cProfile.Profile()
        profile.runcall(one, options.profile, options.model, options.scheduler)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    if options.json:
        print(json.dumps(one(options.jobs, options.model, options.scheduler)))
        return
    print(f"simulate: {options.model}, {options.scheduler}; Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{'jobs':>10} {'events':>10} {'seconds':>9} {'cpu':>9} {'events/s':>12} {'us/event':>9} {'peak MiB':>9}")
    rows = []
    for jobs in [options.jobs] if options.jobs else SIZES:
        rows.append(fresh(jobs, options.model, options.scheduler))
        show(rows[-1])
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        ratio = (last["cpu"] / last["events"]) / (first["cpu"] / first["events"])
        print(f"cost of an event, {last['jobs']:,} jobs to {first['jobs']:,}: ratio {ratio:.2f}")
        print(f"memory, the same: ratio {last['peak_mib'] / first['peak_mib']:.2f}")
        print(f"reach: 1,000,000 jobs in 60 s; took {last['seconds']:.1f} s: ratio {last['seconds'] / 60.0:.2f}")


if __name__ == "__main__":
    main()
