"""What the interposer costs: processor time of a program with it against the same without, run in turn.

LAMMPS must be on PATH, as `make` installs it. It has one rank: two that wait for each other spin, and on a busy
machine their processor time says more of the others. The other program asks MPI_Iprobe again and again and does nothing else,
which is the worst case; a program that polls between pieces of work (the second figure of it) loses less.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ensemble.studies.measuring.native import compile_tool

ROUNDS = 7
POLLS = 3_000_000

POLLING = """
#include <mpi.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    int flag, work = atoi(argv[2]);
    volatile double x = 1;
    MPI_Init(&argc, &argv);
    for (long i = 0; i < atol(argv[1]); i++) {
        MPI_Iprobe(MPI_ANY_SOURCE, 1, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
        for (int k = 0; k < work; k++) x = x * 0.999999 + 1e-6;
    }
    MPI_Finalize();
    return 0;
}
"""
MELT = """units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 20 0 20 0 20
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
neighbor 0.3 bin
fix 1 all nve
run 50
"""


def processor(words, folder, **environment):
    """Seconds of the processor that a program and its children use."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=folder, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "poll.c").write_text(POLLING)
        Path(folder, "in.melt").write_text(MELT)
        subprocess.run(["mpicc", "-O2", "-o", "poll", "poll.c"], cwd=folder, check=True)
        seen = {"LD_PRELOAD": str(compile_tool("interposer")), "ENSEMBLE_MPI_RECORD": folder}
        programs = {
            "LAMMPS (to reach: 1.02)": ["lmp", "-in", "in.melt", "-log", "none"],
            "only polls": ["./poll", str(POLLS), "0"],
            "polls between pieces of work of 0.5 us (to reach: 1.10)": ["./poll", str(POLLS), "125"],
        }
        for name, words in programs.items():
            ratios = [processor(words, folder, **seen) / processor(words, folder) for _ in range(ROUNDS)]
            print(f"{name}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    sys.exit(main())
