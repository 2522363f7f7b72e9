"""The loop that joins engine, members, journal and functions; all the waiting is here.

`run` starts an ensemble, `resume` goes on with one, `verify` decides it all over again and compares.
"""

from ensemble.runtime.opening import RunOptions, resume, run
from ensemble.runtime.session import RunResult
from ensemble.runtime.verify import Verification, verify

__all__ = ["RunOptions", "RunResult", "Verification", "resume", "run", "verify"]
