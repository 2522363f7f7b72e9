"""Runs or resumes an ensemble in a process of its own, for tests that kill it.

Arguments: `run FILE RUN_DIR` or `resume RUN_DIR`. Exits with the run's code.
"""

import asyncio
import sys
from pathlib import Path

from ensemble.runtime import RunOptions, loop, resume, run
from ensemble.spec.loader import load


def main():
    # small enough that there are snapshots to be killed at, and to resume from
    loop.SNAPSHOT_RECORDS = 25
    if sys.argv[1] == "run":
        result = asyncio.run(run(load(sys.argv[2]), RunOptions(run_dir=sys.argv[3])))
    else:
        result = asyncio.run(resume(Path(sys.argv[2])))
    print(result.outcome, result.reason, *result.warnings)
    sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
