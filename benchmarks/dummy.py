"""How well the dummy keeps what it is asked for: duration and share of MPI as the interposer sees them, over a grid.

Each line is one measurement; one that something else on the machine disturbed says so, and misses of those say nothing.
`--launcher` gives other words that start two ranks, such as 'mpiexec.openmpi --oversubscribe -n {tasks}'; with
`--realtime` (as root) the ranks go before all other programs, which then wait: only where nobody else works.
"""

import argparse
import json
import subprocess
import sys
import tempfile

from ensemble.studies.measuring.native import compile_tool

REACH = 0.05


def measure(folder, duration, share, tasks, launcher):
    """One measurement, the last of at most three if each is disturbed."""
    command = f"{compile_tool('dummy')} --duration {duration} --mpi {share}"
    words = [sys.executable, "-m", "ensemble", "study", "measure", "--command", command, "--tasks", str(tasks)]
    words += ["--problem", f"{duration}-{share}", "--launcher", launcher, "--repeat", "1", "--output", "json"]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def off(got, asked):
    """The relative error as text, with a mark where it is more than is to be reached."""
    return f"{got / asked - 1:+7.2%}{' !' if abs(got / asked - 1) > REACH else '  '}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launcher", default="mpiexec -n {tasks}")
    parser.add_argument("--realtime", action="store_true")
    asked = parser.parse_args()
    launcher = f"chrt -f 1 {asked.launcher}" if asked.realtime else asked.launcher
    quiet = within = quiet_within = 0
    print("tasks duration  share  duration      share      disturbed")
    with tempfile.TemporaryDirectory() as folder:
        for tasks in (1, 2):
            for duration in (1, 3):
                for share in (0.05, 0.3, 0.6):
                    one = measure(folder, duration, share, tasks, launcher)
                    errors = off(one["wall"], duration), off(one["mpi_share"], share)
                    print(f"{tasks:5} {duration:6} s {share:6.0%} {'  '.join(errors)}  {'; '.join(one['reasons'])}")
                    quiet += not one["disturbed"]
                    good = not any("!" in error for error in errors)
                    within += good
                    quiet_within += good and not one["disturbed"]
    print(f"within {REACH:.0%}: {within} of 12; undisturbed: {quiet}, of which within {REACH:.0%}: {quiet_within}")


if __name__ == "__main__":
    main()
