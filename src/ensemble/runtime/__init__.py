"""The loop that joins engine, members, journal and functions; all the waiting is here.

`run` starts an ensemble, `resume` goes on with one, `verify` decides it all over again and compares.
"""

from ensemble.runtime.loop import Observer, RunLoop, RunResult
from ensemble.runtime.opening import RunOptions, resume, run
from ensemble.runtime.verify import Verification, verify

__all__ = ["Observer", "RunLoop", "RunOptions", "RunResult", "Verification", "resume", "run", "verify"]
