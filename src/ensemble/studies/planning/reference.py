"""The reference of plans as Markdown, from their keys: `python -m ensemble.studies.planning.reference`."""

from __future__ import annotations

__all__ = ["reference"]

import sys
from typing import Final

from ensemble.spec.reference import keys_table
from ensemble.studies.planning.plan import Arrivals, Dummy, Mix, Plan, Structure

_SECTIONS: Final[tuple[tuple[str, type], ...]] = (
    ("Plan", Plan),
    ("Mix", Mix),
    ("Dummies", Dummy),
    ("Arrivals", Arrivals),
    ("Structure", Structure),
)

_HEAD: Final = """# Plans

<!-- Written by `python -m ensemble.studies.planning.reference > docs/plans.md`. -->

A plan says what an experiment should be like; `ensemble study plan` makes an ordinary ensemble file of it, whose jobs
have known durations and shares of MPI. [studies.md](studies.md) is the walk through a study.

```yaml
name: bag
seed: 7
makespan: 10m
jobs: 400
mpi: [0.2, 0.4]
members: {local: {cores: 2}}
mix:
  - {dummy: {duration: [1s, 6s], mpi: [0.1, 0.6]}, share: 0.5}
  - {name: pair, dummy: {duration: [1s, 4s], mpi: 0.3}, tasks: 2}
```

- Jobs are drawn evenly from the ranges of their kind. Then the targets are met with what is still free: the number of
  jobs where the plan does not say it, how long jobs are within their ranges, and how much of a dummy is MPI. Each try
  is simulated, so `ensemble simulate` of the new file gives the makespan that was found.
- Where all jobs are there from the start, kinds that come first in the mix go first, as groups of a file do. Kinds take
  turns where jobs arrive later.
- A target that cannot be met is refused with its place in the file and the nearest that can. `tolerance` says how
  near is near enough.
- The same plan, patterns and version give the same file; without `members`, on a machine with as many cores.
- A cell takes its durations, hook-up time and share of MPI from its pattern, and only within the range that was
  measured; a size that is not written is the least that was measured. Where MPI was not observed, its share counts as
  0.
- The program of dummies is compiled and written beside the ensemble file. With `--kubernetes IMAGE` an object of kind
  `Ensemble` is written instead, whose jobs find it in the image; images of `ensemble study build` have it.
- Jobs that arrive later are submitted by rules on time. A job of the group `clock` sleeps until the last arrival,
  because a run ends when nothing is left to do.
- In a structure, `jobs` counts all jobs, and `share` the whole chains or fans of a kind. `steps` puts several kinds
  into each chain.
- `structure: {kind: workflow, file: FILE}` runs the tasks of a workflow in WfFormat 1.5 or 1.6 as dummies of their
  run times, which are made longer or shorter to meet a `makespan`. `--wfformat FILE` writes the jobs of any plan in
  this format."""


def reference() -> str:
    """The whole page."""
    lines = [_HEAD]
    for title, struct in _SECTIONS:
        lines += ["", f"## {title}", "", (struct.__doc__ or "").strip(), "", *keys_table(struct)]
    return "\n".join(lines).replace("](#members)", "](reference.md#members)") + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
