"""`select-longest-runtime`: of the jobs that are left, run those first that are expected to take the longest time.

The makespan gets short: no long job is left to run alone at the end (longest processing time first, Graham 1969).

Options:

| option | default | meaning |
|---|---|---|
| by | group | what has a model of its own: each group, or each point |
| minimum | 3 | durations that a model needs; until all have them the choice is fair |
| statistic | mean | the expected duration: mean, median or ewma (which follows a drift) of the successful jobs |
| ahead | 1 | jobs kept waiting in the queue, so that no node idles |
| atOnce | 0 | jobs of the ensemble under way at most; 0: as many as the members run |
| groups | all | only these groups |

```yaml
jobs:
  - {name: lammps, command: lmp -in in.melt, count: 20}
  - {name: amg, command: amg -problem 2, count: 20}
algorithm:
  name: select-longest-runtime
  options: {minimum: 5}
```

How it chooses is described in `runtime_selection`.
"""

from __future__ import annotations

__all__ = ["SelectLongestRuntime"]

from typing import ClassVar

from ensemble.algorithms.runtime_selection import RuntimeSelection


class SelectLongestRuntime(RuntimeSelection):
    """The longest expected duration first."""

    name: ClassVar[str] = "select-longest-runtime"
    sign: ClassVar[float] = -1.0
