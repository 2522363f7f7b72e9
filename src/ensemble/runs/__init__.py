"""One interface for everything that a command, a script, a server or a page asks of runs.

`local` answers from a run's journal and directory, `remote` asks a server over gRPC; both give the same types and raise
the same errors.
"""

from ensemble.runs.interface import Answer, Run, RunInfo, Runs, RunState, Submission, open_runs

__all__ = ["Answer", "Run", "RunInfo", "RunState", "Runs", "Submission", "open_runs"]
